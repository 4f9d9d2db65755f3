-- What the scripts share: it stands before each of them when they are loaded.

-- A flat [field, value, …] reply as a table.
local function fields_of(reply)
  local fields = {}
  for i = 1, #reply, 2 do fields[reply[i]] = reply[i + 1] end
  return fields
end

-- The error to return where a key holds another type than the wanted one.
local function other_than(wanted, key)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted then
    return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. found .. ' where a ' .. wanted
      .. ' belongs: move it away')
  end
end

local function find_group(stream, name)
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = fields_of(reply)
    if group.name == name then return group end
  end
end
