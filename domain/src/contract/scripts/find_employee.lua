local ENTRY = 24
local high, low, block = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local most, entries = tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return redis.error_reply('MISSING the index of this generation')
end
if redis.call('STRLEN', KEYS[1]) ~= entries * ENTRY then
  return redis.error_reply('DAMAGED the index of this generation')
end

-- The part, if it is short and lies in blocks that are given.
local function read(from, to)
  local first, last = math.floor(from / block), math.floor((to - 1) / block)
  if to - from > most or last + 2 > #KEYS then
    return ''
  end
  local pieces = {}
  for number = first, last do
    local base = number * block
    local start, upto = math.max(from, base), math.min(to, base + block)
    local piece = redis.call('GETRANGE', KEYS[2 + number], start - base, upto - base - 1)
    if #piece ~= upto - start then
      return nil
    end
    pieces[#pieces + 1] = piece
  end
  return table.concat(pieces)
end

-- Bisection. Ids are compared in halves: a Lua number holds 53 bits exactly, not 64.
local first, last = 0, entries - 1
while first <= last do
  local middle = math.floor((first + last) / 2)
  local entry = redis.call('GETRANGE', KEYS[1], middle * ENTRY, middle * ENTRY + ENTRY - 1)
  local entry_high, entry_low, start_high, start_low, bytes = struct.unpack('>I4I4I4I4I4', entry)
  if entry_high == high and entry_low == low then
    local from = start_high * 4294967296 + start_low
    if start_high >= 1048576 or bytes == 0 then
      return redis.error_reply('DAMAGED the index of this generation')
    end
    local part = read(from, from + bytes)
    if not part then
      return redis.error_reply('MISSING a block of this generation')
    end
    return {1, from, bytes, part}
  end
  if entry_high < high or (entry_high == high and entry_low < low) then
    first = middle + 1
  else
    last = middle - 1
  end
end
return {0, 0, 0, ''}
