-- What the scripts that look for rows of the timeline have in common.
local ENTRY, PER_BLOCK = 32, 32768

-- What `work` returns, or the error reply that it raised. (What Redis makes of an error that is a table
-- depends on its version.)
local function protected(work)
  local done, result = pcall(work)
  if done or type(result) == 'table' then
    return result
  end
  error(result, 0)
end

-- A part of a value; an error unless it is there whole.
local function read(key, first, length)
  local bytes = redis.call('GETRANGE', key, first, first + length - 1)
  if #bytes ~= length then
    error({err = 'MISSING a block of this generation'})
  end
  return bytes
end

-- Bounds: the time in two halves, the tie in two parts, and how many rows with exactly this key are
-- behind the bound already. 18 bytes each, numbered from 1.
local function unpack_bounds(packed)
  local bounds = {}
  for at = 1, #packed, 18 do
    bounds[#bounds + 1] = {struct.unpack('>I4I4I2I4I4', packed, at)}
  end
  return bounds
end

-- How many of the entries numbered [first, last) are before a time and a tie. Numbers are compared in
-- parts: a Lua number holds 53 bits exactly, not 64.
local function before(entry, first, last, high, low, tie)
  while first < last do
    local middle = math.floor((first + last) / 2)
    local entry_high, entry_low, tie_high, tie_low = struct.unpack('>I4I4I2I4', entry(middle))
    if entry_high < high or (entry_high == high and (entry_low < low
        or (entry_low == low and tie_high * 4294967296 + tie_low < tie))) then
      first = middle + 1
    else
      last = middle
    end
  end
  return first
end

-- Where a bound is among the entries [first, last), seen in the direction of reading.
local function position(entry, first, last, bound, descending)
  if not bound then
    return nil
  end
  local high, low, tie, skip = bound[1], bound[2], bound[3] * 4294967296 + bound[4], bound[5]
  local lower = before(entry, first, last, high, low, tie)
  if skip == 0 then
    return lower
  end
  local upper = before(entry, lower, last, high, low, tie + 1)
  if descending then
    return math.max(upper - skip, lower)
  end
  return math.min(lower + skip, upper)
end

-- Of the entries [first, last), those between the bounds numbered `since` and `till`: how many there are,
-- and the range of those beyond the bound numbered `cursor`.
local function cut(entry, first, last, bounds, since, till, cursor, descending)
  local from = position(entry, first, last, bounds[since], false) or first
  local upto = position(entry, from, last, bounds[till], false) or last
  local total, rest = upto - from, position(entry, from, upto, bounds[cursor], descending)
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
