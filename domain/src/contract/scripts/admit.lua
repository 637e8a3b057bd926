local current, verified, known, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local credential, mac = ARGV[1], ARGV[2]
local verified_ms, known_ms, permit_ms = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local longest, permits, limits = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local last_permit, last_limit = 4 + permits, 4 + permits + limits

-- The count and the window of the limit whose counter is KEYS[i].
local function terms(i)
  local at = 9 + 2 * (i - last_permit - 1)
  return tonumber(ARGV[at]), tonumber(ARGV[at + 1])
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

-- What the keys from `first` to `last` hold; false where there is nothing.
local function values(first, last)
  if first > last then
    return {}
  end
  return redis.call('MGET', unpack(KEYS, first, last))
end

-- Counts a request that is refused. What cannot be counted is refused all the same.
local function refused_for(reason)
  redis.pcall('HINCRBY', counters, 'refused:' .. reason, 1)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local is_known = redis.call('EXISTS', known) == 1
local right = credential == 'right'
local free
if credential == 'unknown' then
  right = is_known or redis.call('EXISTS', verified) == 1
  for i, checked in ipairs(values(5, last_permit)) do
    if not right and checked == mac then
      -- Another request is about to find out.
      return {3, 0, 1, now, '', 0}
    end
    free = free or (not checked and KEYS[4 + i])
  end
end

local locked, wait, limiting = false, 0, 0
for n, counted in ipairs(values(last_limit + 1, #KEYS)) do
  if counted then
    local counter = last_limit + n
    local most, window = terms(counter)
    local ms = left(KEYS[counter], window)
    if (tonumber(counted) or 0) >= most and ms >= wait then
      locked, wait, limiting = true, ms, n - 1
    end
  end
end
if locked and not (right and is_known) then
  refused_for('locked_out')
  return {2, wait, limiting, now, '', 0}
end

local refused = false
wait, limiting = 0, 0
for i = last_permit + 1, last_limit do
  local exceeded, ms = count(i)
  if exceeded then
    refused = true
    if ms >= wait then
      wait, limiting = ms, i - last_permit - 1
    end
  end
end
local busy = credential == 'unknown' and not right and not free
if refused or busy then
  for i = last_permit + 1, last_limit do
    redis.call('DECR', KEYS[i])
  end
  refused_for(refused and 'rate_limit' or 'busy')
  return {refused and 0 or 3, wait, limiting, now, '', 0}
end

if right then
  if mac ~= '' then
    redis.call('SET', verified, 1, 'PX', verified_ms)
  end
  redis.call('SET', known, 1, 'PX', known_ms)
elseif credential == 'none' then
  refused_for('no_password')
elseif credential ~= 'unneeded' then
  -- A guess, until it is found right.
  for i = last_limit + 1, #KEYS do
    count(i)
  end
  if free then
    redis.call('SET', free, mac, 'PX', permit_ms)
  end
  if credential == 'wrong' then
    refused_for('wrong_password')
  end
end
if redis.call('STRLEN', current) > longest then
  return redis.error_reply('DAMAGED the record of the snapshot is too long')
end
return {1, 0, 0, now, redis.call('GET', current) or '', right and 1 or 0}
