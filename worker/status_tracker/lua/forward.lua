-- Add the entries that one partition's stream has for another one, each once.
--
-- KEYS[1] partition   hash of the receiver: from:<p>, which is <epoch>/<ID of the last one added>;
--                     bridged:<p> for a partition of another deployment
-- KEYS[2] events      stream of the receiver
-- ARGV[1] noted       in which field that is: 'from' or 'bridged'
-- ARGV[2] sender      number of the partition whose stream has them
-- ARGV[3] epoch       which of its streams that is
-- then    of each entry its ID, a field and the value, in the order of the stream
--
-- Returns how many were added: whoever repeats them adds none.

local partition, events = KEYS[1], KEYS[2]
local sender, epoch = ARGV[2], tonumber(ARGV[3])
local field = ARGV[1] .. ':' .. sender

local refused = other_than('hash', partition) or other_than('stream', events) or refused_by_acl({
  {'HSET', partition, '', ''},
  {'XADD', events, '*', '', ''},
})
if refused then return refused end
if without_ids(events) then return no_ids_left(events, 'its owner recreates it once it is drained') end

-- An older epoch than the noted one is of a hash that was restored: IDs go by time all the same.
local noted_epoch, noted = (redis.call('HGET', partition, field) or ''):match('^(%d+)/(%d+%-%d+)$')
if noted and epoch > tonumber(noted_epoch) then noted = nil end

local added = 0
for i = 4, #ARGV, 3 do
  if not noted or id_before(noted, ARGV[i]) then
    noted = ARGV[i]
    redis.call('XADD', events, '*', ARGV[i + 1], ARGV[i + 2], 'from', sender .. '/' .. noted)
    added = added + 1
  end
end
if added > 0 then
  redis.call('HSET', partition, field, text_of(math.max(epoch, tonumber(noted_epoch or 0))) .. '/' .. noted)
end
return added
