local limits, credential = tonumber(ARGV[1]), ARGV[2]

-- The count and the window of the limit whose counter is KEYS[i].
local function terms(i)
  return tonumber(ARGV[2 * i - 3]), tonumber(ARGV[2 * i - 2])
end

-- How long the window of a counter still runs. One that never ends, or later than it can (Redis's
-- clock was set back), would hold the client up for more than was said.
local function left(counter, window)
  local ms = redis.call('PTTL', counter)
  if ms < 0 or ms > window then
    redis.call('PEXPIRE', counter, window)
    ms = window
  end
  return ms
end

local function count(i)
  local most, window = terms(i)
  local counted = redis.call('INCR', KEYS[i])
  if counted == 1 then
    redis.call('PEXPIRE', KEYS[i], window)
    return false, window
  end
  return counted > most, left(KEYS[i], window)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local failures = {}
for i = 3 + limits, #KEYS do
  failures[#failures + 1] = KEYS[i]
end
local failed, locked, wait, limiting = false, false, 0, 0
if #failures > 0 then
  for n, counted in ipairs(redis.call('MGET', unpack(failures))) do
    if counted then
      failed = true
      local most, window = terms(2 + limits + n)
      local ms = left(failures[n], window)
      if (tonumber(counted) or 0) >= most and ms >= wait then
        locked, wait, limiting = true, ms, n - 1
      end
    end
  end
end
if locked then
  return {2, wait, limiting, now, '', 0}
end

local refused = false
for i = 3, 2 + limits do
  local exceeded, ms = count(i)
  if exceeded then
    refused = true
    if ms >= wait then
      wait, limiting = ms, i - 3
    end
  end
end
if refused then
  for i = 3, 2 + limits do
    redis.call('DECR', KEYS[i])
  end
  return {0, wait, limiting, now, '', 0}
end

local verified = redis.call('EXISTS', KEYS[2])
if credential == 'wrong' then
  for i = 3 + limits, #KEYS do
    count(i)
  end
elseif failed and (credential == 'right' or (credential == 'unknown' and verified == 1)) then
  redis.call('DEL', unpack(failures))
end
return {1, 0, 0, now, redis.call('GET', KEYS[1]) or '', verified}
