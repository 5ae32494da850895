-- How far this database holds everything of a stream: a row a kind and partition, the highest seq is the current one.
CREATE TABLE IF NOT EXISTS sqep_mark (
    kind LowCardinality(String),
    partition UInt16,
    seq UInt64,
    born String COMMENT 'the stream, as against another of its name',
    id String COMMENT 'everything up to this entry is here',
    before String COMMENT 'the mark as it stood a while before',
    saved DateTime DEFAULT now()
) ENGINE = ReplacingMergeTree(seq) ORDER BY (kind, partition);
