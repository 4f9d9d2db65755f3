-- Say which commands the user may not do; none of them is done.
--
-- KEYS[1] meta      hash: any key of the deployment
-- ARGV[1] commands  a msgpack list of commands, each a list of its words
--
-- Returns the places of those, from 1.

if not redis.acl_check_cmd then return redis.error_reply('ERR the server cannot tell') end

local refused = {}
for place, command in ipairs(cmsgpack.unpack(ARGV[1])) do
  -- It fails where there is no such command: somebody may have renamed it.
  local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(command))
  if not is_known or not is_allowed then refused[#refused + 1] = place end
end
return refused
