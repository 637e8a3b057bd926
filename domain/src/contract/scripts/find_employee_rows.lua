local INDEX_ENTRY, ORDINAL, ORDINALS_PER_BLOCK = 24, 4, 262144
-- Of so many rows at most, all ordinals are read at once.
local FEW = 4096
local descending, most = ARGV[1] == 'desc', tonumber(ARGV[2])
local bounds, lanes, ids = unpack_bounds(ARGV[3]), {}, ARGV[5]
for at = 1, #ARGV[4], 11 do
  lanes[#lanes + 1] = {struct.unpack('>I4I4BBB', ARGV[4], at)}
end
local employees, rows, list_blocks = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local own_high, own_low = struct.unpack('>I4I4', ARGV[9])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return redis.error_reply('MISSING the index of this generation')
end
if redis.call('STRLEN', KEYS[1]) ~= employees * INDEX_ENTRY then
  return redis.error_reply('DAMAGED the index of this generation')
end

-- The range of an employee's rows in the list, if it has any.
local function rows_of(high, low)
  local first, last = 0, employees
  while first < last do
    local middle = math.floor((first + last) / 2)
    local bytes = read(KEYS[1], middle * INDEX_ENTRY, INDEX_ENTRY)
    local entry_high, entry_low = struct.unpack('>I4I4', bytes)
    if entry_high == high and entry_low == low then
      local upto = rows
      if middle + 1 < employees then
        upto = struct.unpack('>I4', read(KEYS[1], (middle + 1) * INDEX_ENTRY + 20, 4))
      end
      local from = struct.unpack('>I4', bytes, 21)
      if from > upto or upto > rows then
        error('DAMAGED the index of this generation', 0)
      end
      return from, upto
    elseif entry_high < high or (entry_high == high and entry_low < low) then
      first = middle + 1
    else
      last = middle
    end
  end
end

-- Where reading goes on in the rows of an employee. Rows with the same key stand by employee: those of the
-- others are behind the bound all or none.
local function cursor_of(bound, high, low)
  if not bound or bound[4] == 0 or (high == own_high and low == own_low) then
    return bound
  end
  local is_before = high < own_high or (high == own_high and low < own_low)
  return {bound[1], bound[2], bound[3] + (is_before and 1 or 0), 0}
end

-- What tells the ordinal at a place of the list.
local function ordinals(from, upto)
  local few, known = upto - from <= FEW, nil
  local function at(first, last)
    local pieces = {}
    while first < last do
      local block = math.floor(first / ORDINALS_PER_BLOCK)
      local stop = math.min(last, (block + 1) * ORDINALS_PER_BLOCK)
      local start = (first - block * ORDINALS_PER_BLOCK) * ORDINAL
      pieces[#pieces + 1] = read(KEYS[2 + block], start, (stop - first) * ORDINAL)
      first = stop
    end
    return table.concat(pieces)
  end
  if few then
    known = at(from, upto)
  end
  return function(place)
    if few then
      return (struct.unpack('>I4', known, (place - from) * ORDINAL + 1))
    end
    return (struct.unpack('>I4', at(place, place + 1)))
  end
end

return protected(function()
  local found = {0}
  for at = 1, #ids, 8 do
    local high, low = struct.unpack('>I4I4', ids, at)
    local from, upto = rows_of(high, low)
    if from then
      local ordinal = ordinals(from, upto)
      -- Neighbours in the list are none in the lanes.
      local function entries(first, last)
        local pieces = {}
        for place = first, last - 1 do
          local number = ordinal(place)
          if number >= rows then
            error('DAMAGED the list of rows of this generation', 0)
          end
          local block = math.floor(number / PER_BLOCK)
          local key = KEYS[2 + list_blocks + block]
          pieces[#pieces + 1] = read(key, (number - block * PER_BLOCK) * ENTRY, ENTRY)
        end
        return table.concat(pieces)
      end
      -- The first place from `place` on whose ordinal is not below `bound`: mostly it is near.
      local function reaching(place, bound)
        local last, step = place, 1
        while last < upto and ordinal(last) < bound do
          place, last, step = last + 1, math.min(last + step, upto), step * 2
        end
        while place < last do
          local middle = math.floor((place + last) / 2)
          if ordinal(middle) < bound then
            place = middle + 1
          else
            last = middle
          end
        end
        return place
      end
      if from < upto and ordinal(upto - 1) >= rows then
        error('DAMAGED the list of rows of this generation', 0)
      end
      local place = from
      for number, lane in ipairs(lanes) do
        local first = reaching(place, lane[1])
        place = reaching(first, lane[1] + lane[2])
        local cursor = cursor_of(bounds[lane[5]], high, low)
        local total, start, stop = cut(entries, 1, first, place, bounds[lane[3]], bounds[lane[4]], cursor,
          descending)
        if total > 0 then
          found[1] = found[1] + 1
          found[#found + 1] = (at - 1) / 8
          found[#found + 1] = number - 1
          found[#found + 1] = total
          found[#found + 1] = stop - start
          found[#found + 1] = entries(next_of(start, stop, most, descending))
        end
      end
    end
  end
  return found
end)
