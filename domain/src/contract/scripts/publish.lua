local lease = redis.call('HMGET', KEYS[1], 'holder', 'token')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then
  return redis.error_reply('FENCED another refresher leads')
end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then
  return redis.error_reply('CONFLICT the current record is not the expected one')
end
local own = tonumber(ARGV[5])
for i = 5, 4 + own do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    return redis.error_reply('MISSING a key of the snapshot: ' .. KEYS[i])
  end
end
for i = 5, 4 + own do
  redis.call('PERSIST', KEYS[i])
end
for i = 5 + own, #KEYS do
  redis.call('PEXPIRE', KEYS[i], ARGV[6])
end
redis.call('SET', KEYS[2], ARGV[4])
redis.call('DEL', KEYS[3])
for i = 7, #ARGV, 2 do
  -- What cannot be counted is published all the same.
  redis.pcall('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1])
end
return redis.status_reply('OK')
