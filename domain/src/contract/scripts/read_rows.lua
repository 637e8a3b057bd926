local packed, pieces = ARGV[1], {}
for at = 1, #packed, 10 do
  local key, first, length = struct.unpack('>I2I4I4', packed, at)
  local bytes = redis.call('GETRANGE', KEYS[key], first, first + length - 1)
  if #bytes ~= length then
    return redis.error_reply('MISSING a block of this generation')
  end
  pieces[#pieces + 1] = bytes
end
return table.concat(pieces)
