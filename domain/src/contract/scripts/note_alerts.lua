local lease = redis.call('HMGET', KEYS[1], 'holder', 'token')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then
  return redis.error_reply('FENCED another refresher leads')
end
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[2], ARGV[3])
end
local most, waiting, left_out = tonumber(ARGV[4]), 0, 0
for list = 4, #KEYS do
  local length = redis.call('LLEN', KEYS[list])
  for alert = 6, #ARGV do
    if length < most then
      length = redis.call('RPUSH', KEYS[list], ARGV[alert])
    else
      left_out = left_out + 1
    end
  end
  redis.call('PEXPIRE', KEYS[list], ARGV[5])
  waiting = waiting + length
end
redis.pcall('HSET', KEYS[3], 'alerts:waiting', waiting)
return left_out
