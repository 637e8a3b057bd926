for i, counter in ipairs(KEYS) do
  local window = tonumber(ARGV[i])
  redis.call('INCR', counter)
  local left = redis.call('PTTL', counter)
  if left < 0 or left > window then
    redis.call('PEXPIRE', counter, window)
  end
end
return #KEYS
