-- A mark is one reader's: streams of another prefix and other groups keep their own beside it. Rows from before have
-- neither, and count for a reader until it has kept a mark of its own.
ALTER TABLE sqep_mark
    ADD COLUMN IF NOT EXISTS prefix String COMMENT 'first word of the keys of the stream',
    ADD COLUMN IF NOT EXISTS reader String COMMENT 'the group',
    MODIFY ORDER BY (kind, partition, prefix, reader);
