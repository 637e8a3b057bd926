for i = 1, #KEYS do
  if redis.call('PTTL', KEYS[i]) >= 0 then
    redis.call('UNLINK', KEYS[i])
  end
end
return redis.status_reply('OK')
