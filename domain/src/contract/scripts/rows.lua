-- What the scripts that look for rows of the timeline have in common.
local ENTRY, PER_BLOCK = 32, 32768

-- What `work` returns, or the error that it raised: as a reply, if it begins with a code. (What Redis makes of
-- an error that is raised as a table depends on its version.)
local function protected(work)
  local done, result = pcall(work)
  if done then
    return result
  elseif type(result) == 'string' and string.find(result, '^%u+ ') then
    return redis.error_reply(result)
  end
  error(result, 0)
end

-- A part of a value; an error unless it is there whole.
local function read(key, first, length)
  local bytes = redis.call('GETRANGE', key, first, first + length - 1)
  if #bytes ~= length then
    error('MISSING a block of this generation', 0)
  end
  return bytes
end

-- Bounds: the time in two halves, the tie, and how many rows with exactly this key are behind the bound
-- already. 18 bytes each, numbered from 1.
local function unpack_bounds(packed)
  local bounds = {}
  for at = 1, #packed, 18 do
    local high, low, tie_high, tie_low, skip = struct.unpack('>I4I4I2I4I4', packed, at)
    bounds[#bounds + 1] = {high, low, tie_high * 4294967296 + tie_low, skip}
  end
  return bounds
end

-- Whether the entry at `at` is before a time and a tie, and its time. Numbers are compared in parts: a Lua
-- number holds 53 bits exactly, not 64.
local function is_before(bytes, at, high, low, tie)
  local entry_high, entry_low, tie_high, tie_low = struct.unpack('>I4I4I2I4', bytes, at)
  local time = entry_high * 4294967296 + entry_low
  if entry_high ~= high then
    return entry_high < high, time
  elseif entry_low ~= low then
    return entry_low < low, time
  end
  return tie_high * 4294967296 + tie_low < tie, time
end

-- A search that has found nothing after so many guesses goes on by bisection.
local GUESSES = 5

-- How many of the entries numbered [first, last) are before a time and a tie. `entries` reads some of them,
-- `window` at a time. The first look is at the part `share` of the way; from the times that are found
-- there, the place is guessed, since times mostly are distributed evenly.
local function before(entries, window, first, last, high, low, tie, share)
  local middle, guesses, around = first + (last - first) * share, 0, nil
  while last - first > window do
    local start = math.min(math.max(math.floor(middle - window / 2), first), last - window)
    local bytes = entries(start, start + window)
    local starts_before, starts_at = is_before(bytes, 1, high, low, tie)
    local ends_before, ends_at = is_before(bytes, #bytes - ENTRY + 1, high, low, tie)
    if ends_before then
      first = start + window
    elseif starts_before then
      first, last, around = start, start + window, bytes
    else
      last = start
    end
    guesses = guesses + 1
    if guesses < GUESSES and starts_at < ends_at then
      middle = start + window * (high * 4294967296 + low - starts_at) / (ends_at - starts_at)
    else
      middle = (first + last) / 2
    end
  end
  local bytes, number = around or entries(first, last), last - first
  local lower, upper = 0, number
  while lower < upper do
    local middle = math.floor((lower + upper) / 2)
    if is_before(bytes, middle * ENTRY + 1, high, low, tie) then
      lower = middle + 1
    else
      upper = middle
    end
  end
  return first + lower
end

-- Where a bound is among the entries [first, last), seen in the direction of reading. It mostly is as far on
-- its way in one lane as in another.
local function position(entries, window, first, last, bound, descending)
  if not bound then
    return nil
  end
  local high, low, tie, skip = bound[1], bound[2], bound[3], bound[4]
  local lower = before(entries, window, first, last, high, low, tie, bound.share or 0.5)
  if last > first then
    bound.share = (lower - first) / (last - first)
  end
  if skip == 0 then
    return lower
  end
  local upper = before(entries, window, lower, last, high, low, tie + 1, 0)
  if descending then
    return math.max(upper - skip, lower)
  end
  return math.min(lower + skip, upper)
end

-- Of the entries [first, last), those between the bounds `since` and `till`: how many there are, and the
-- range of those beyond the bound `cursor`.
local function cut(entries, window, first, last, since, till, cursor, descending)
  local from = position(entries, window, first, last, since, false) or first
  local upto = position(entries, window, from, last, till, false) or last
  local total, rest = upto - from, position(entries, window, from, upto, cursor, descending)
  if rest and descending then
    upto = rest
  elseif rest then
    from = rest
  end
  return total, from, upto
end

-- The next `most` of [from, upto) in the direction of reading.
local function next_of(from, upto, most, descending)
  if descending then
    return math.max(from, upto - most), upto
  end
  return from, math.min(upto, from + most)
end
