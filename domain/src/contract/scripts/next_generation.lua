local known = tonumber(ARGV[1])
local drawn = tonumber(redis.call('GET', KEYS[1]) or 0)
local generation = math.max(known, drawn) + 1
redis.call('SET', KEYS[1], string.format('%.0f', generation))
return generation
