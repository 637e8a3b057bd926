local ENTRY = 20
local high, low, block = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local entries = redis.call('STRLEN', KEYS[1]) / ENTRY
if entries == 0 then
  if redis.call('EXISTS', KEYS[1]) == 0 then
    return redis.error_reply('MISSING the index of this generation')
  end
  return {0, ''}
end
-- Bisection. Ids are compared in halves: a Lua number holds 53 bits exactly, not 64.
local first, last = 0, entries - 1
while first <= last do
  local middle = math.floor((first + last) / 2)
  local entry = redis.call('GETRANGE', KEYS[1], middle * ENTRY, middle * ENTRY + ENTRY - 1)
  local entry_high, entry_low, start_high, start_low, length = struct.unpack('>I4I4I4I4I4', entry)
  if entry_high == high and entry_low == low then
    local from = start_high * 4294967296 + start_low
    local to = from + length
    local part = {}
    while from < to do
      local number = math.floor(from / block)
      local base = number * block
      local upto = math.min(to, base + block)
      local piece = redis.call('GETRANGE', KEYS[2 + number], from - base, upto - base - 1)
      if #piece ~= upto - from then
        return redis.error_reply('MISSING a block of this generation')
      end
      part[#part + 1] = piece
      from = upto
    end
    return {1, table.concat(part)}
  end
  if entry_high < high or (entry_high == high and entry_low < low) then
    first = middle + 1
  else
    last = middle - 1
  end
end
return {0, ''}
