local lease = redis.call('HMGET', KEYS[1], 'holder', 'token')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then
  return redis.error_reply('FENCED another refresher leads')
end
redis.call('LTRIM', KEYS[3], ARGV[3], -1)
redis.pcall('HINCRBY', KEYS[2], 'alerts:handed-over', ARGV[4])
-- What cannot be counted is taken all the same.
local waiting = 0
for list = 3, #KEYS do
  waiting = waiting + redis.call('LLEN', KEYS[list])
end
redis.pcall('HSET', KEYS[2], 'alerts:waiting', waiting)
return redis.status_reply('OK')
