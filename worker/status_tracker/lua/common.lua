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

-- The error to return where the user may not do one of the commands. A script that fails half-way is
-- not undone, so it asks before its first write. Servers that are no Redis may have no such call.
local function refused_by_acl(commands)
  if not redis.acl_check_cmd then return nil end
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM the user needs permission for ' .. command[1]:lower()
        .. ' on the keys of the prefix')
    end
  end
end

-- A group of that name in a reply of XINFO GROUPS.
local function group_among(reply, name)
  for _, each in ipairs(reply) do
    local group = fields_of(each)
    if group.name == name then return group end
  end
end

local function find_group(stream, name)
  return group_among(redis.call('XINFO', 'GROUPS', stream), name)
end

-- IDs are two 64-bit numbers, more than a Lua number holds exactly, so they are compared as text.
local function number_before(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local function id_before(a, b)
  local a_ms, a_seq = a:match('^(%d+)-(%d+)$')
  local b_ms, b_seq = b:match('^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return number_before(a_ms, b_ms) end
  return number_before(a_seq, b_seq)
end

local LAST_MS = '18446744073709551615'
local LAST_ID = LAST_MS .. '-' .. LAST_MS

-- Whether a stream ends where there may be no IDs left for what is to be added. XINFO STREAM would
-- tell, but copies the first and the last entry, whatever they hold: it is asked of empty ones only.
local function without_ids(stream)
  if redis.call('EXISTS', stream) == 0 then return false end
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local id = last and last[1] or fields_of(redis.call('XINFO', 'STREAM', stream))['last-generated-id']
  if id:find('^' .. LAST_MS .. '%-') then return true end
  -- The last ID may have been deleted. An entry before all others is never added, but which error
  -- comes tells whether any could be.
  local reply = last and redis.pcall('XADD', stream, 'NOMKSTREAM', '0-1', 'x', 'x')
  return reply and reply.err:find('exhausted') ~= nil
end

-- Whether an ID that was given to an entry leaves no room for as many entries as a commit may add.
local function nearly_last(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return ms == LAST_MS and number_before('18446744073700000000', seq)
end

local function no_ids_left(stream, way)
  return redis.error_reply('ERR ' .. stream .. ' has no IDs left: ' .. (way or 'delete the stream, or XSETID it back'))
end

-- A whole number that somebody may have written over, as one that can be added to.
local function whole(text)
  local number = tonumber(text or 0) or 0
  if number ~= number or math.abs(number) > 2^53 then return 0 end
  return math.floor(number)
end

local function text_of(number) return string.format('%.0f', number) end
