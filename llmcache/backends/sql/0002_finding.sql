-- To find entries by age and by the model that answered, and to rank them, without reading them all.

-- Empty where the model that was asked for answered; null where the writer did not say.
ALTER TABLE llmcache.entries ADD COLUMN answered_by text;

CREATE INDEX entries_answered_by ON llmcache.entries (collection, answered_by);
CREATE INDEX entries_created_at ON llmcache.entries (collection, created_at);
CREATE INDEX uses_most ON llmcache.uses (collection, uses, used_at);
CREATE INDEX uses_newest ON llmcache.uses (collection, used_at);
