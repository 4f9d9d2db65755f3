-- Delete the history of an entity that is not there any more.
--
-- KEYS[1] status    string
-- KEYS[2] history   list
--
-- Returns 1; or 0 where the entity is there, or its history is gone, or is no list.

local status, history = KEYS[1], KEYS[2]

local refused = refused_by_acl({{'DEL', history}})
if refused then return refused end

if redis.call('EXISTS', status) == 1 or other_than('list', history) then return 0 end
return redis.call('DEL', history)
