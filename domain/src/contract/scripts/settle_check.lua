local verified, known, permits = KEYS[1], KEYS[2], tonumber(ARGV[5])
local mac = ARGV[2]
for i = 4, 3 + permits do
  if redis.call('GET', KEYS[i]) == mac then
    redis.call('DEL', KEYS[i])
  end
end
if ARGV[1] == 'right' then
  redis.call('SET', verified, 1, 'PX', ARGV[3])
  redis.call('SET', known, 1, 'PX', ARGV[4])
  for i = 4 + permits, #KEYS do
    local counted = tonumber(redis.call('GET', KEYS[i]) or 0) or 0
    if counted > 1 then
      redis.call('DECR', KEYS[i])
    else
      redis.call('DEL', KEYS[i])
    end
  end
else
  redis.pcall('HINCRBY', KEYS[3], 'refused:wrong_password', 1)
end
return 1
