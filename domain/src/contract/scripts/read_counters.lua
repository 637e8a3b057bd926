local term, longest = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local left = (tonumber(field(KEYS[1], 'expires_ms', longest) or '') or 0) - time[1] * 1000 - math.floor(time[2] / 1000)
-- A lease that runs for longer than it can was taken before the clock was set back, and says nothing.
local told = {left > 0 and left <= term and 1 or 0}
for i = 3, #ARGV do
  told[#told + 1] = field(KEYS[2], ARGV[i], longest) or ''
end
return told
