local limits = #KEYS - 2
local refused, wait, limiting = false, 0, 0
for i = 1, limits do
  local counter, most, window = KEYS[i + 2], tonumber(ARGV[2 * i - 1]), ARGV[2 * i]
  local count = redis.call('INCR', counter)
  if count == 1 then
    redis.call('PEXPIRE', counter, window)
  elseif count > most then
    refused = true
    local left = redis.call('PTTL', counter)
    if left < 0 then
      -- A counter that never ends would lock the client out for good.
      redis.call('PEXPIRE', counter, window)
      left = tonumber(window)
    end
    if left >= wait then
      wait, limiting = left, i - 1
    end
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if refused then
  for i = 1, limits do
    redis.call('DECR', KEYS[i + 2])
  end
  return {0, wait, limiting, now, '', 0}
end
return {1, 0, 0, now, redis.call('GET', KEYS[1]) or '', redis.call('EXISTS', KEYS[2])}
