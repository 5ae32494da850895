-- Takes back what was asked for once: no table keeps hashes of inserts. Said once, since whoever wants them may ask for them
-- again. A replicated table has its own list, which our inserts say they are not held against.
ALTER TABLE bar_1d MODIFY SETTING non_replicated_deduplication_window = 0;
ALTER TABLE ref_1d MODIFY SETTING non_replicated_deduplication_window = 0;
ALTER TABLE bar_1m MODIFY SETTING non_replicated_deduplication_window = 0;
ALTER TABLE bar_5m MODIFY SETTING non_replicated_deduplication_window = 0;
ALTER TABLE bar_15m MODIFY SETTING non_replicated_deduplication_window = 0;
ALTER TABLE bar_30m MODIFY SETTING non_replicated_deduplication_window = 0;
ALTER TABLE bar_60m MODIFY SETTING non_replicated_deduplication_window = 0;
ALTER TABLE feature_1d MODIFY SETTING non_replicated_deduplication_window = 0;
ALTER TABLE feature_1m MODIFY SETTING non_replicated_deduplication_window = 0;
