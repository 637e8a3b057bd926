local descending, most = ARGV[1] == 'desc', tonumber(ARGV[2])
local bounds, packed = unpack_bounds(ARGV[3]), ARGV[4]
-- Neighbours are read together: to look at them takes less time than a read. More would take more than their
-- share, since a longer reply does not fit into the buffer in which Redis hands it to a script.
local WINDOW = 16

-- The entries numbered [first, last); the block of entry 0 is the key numbered `key` less that block's number.
local function entries(key, first, last)
  local pieces = {}
  while first < last do
    local block = math.floor(first / PER_BLOCK)
    local upto = math.min(last, (block + 1) * PER_BLOCK)
    local start = (first - block * PER_BLOCK) * ENTRY
    pieces[#pieces + 1] = read(KEYS[key + block], start, (upto - first) * ENTRY)
    first = upto
  end
  return table.concat(pieces)
end

return protected(function()
  local found = {#packed / 15}
  for at = 1, #packed, 15 do
    local key, start, count, since, till, cursor = struct.unpack('>I4I4I4BBB', packed, at)
    key = key - math.floor(start / PER_BLOCK)
    local function own(first, last)
      return entries(key, first, last)
    end
    local total, from, upto = cut(own, WINDOW, start, start + count, bounds[since], bounds[till], bounds[cursor],
      descending)
    found[#found + 1] = total
    found[#found + 1] = upto - from
    found[#found + 1] = entries(key, next_of(from, upto, most, descending))
  end
  return found
end)
