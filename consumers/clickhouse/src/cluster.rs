//! The same statements for a cluster: tables of a record become a local, replicated one on each shard and one over all of
//! them, cut by symbol; small tables are whole on every server. Knows text only; must not ask a server.

/// Where replicas find each other. `{shard}` and `{replica}` are macros of each server's own configuration.
const SHARDED: &str = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";
/// Every server of the cluster is a replica of a table that is not cut, so a name of its own is the shard's and its own.
const WHOLE: &str = "'/clickhouse/tables/{database}/{table}', '{shard}-{replica}'";
/// Tables that are cut by symbol.
const CUT: [&str; 3] = ["bar_", "ref_", "feature_"];

/// A statement as it must be said to `cluster`; unchanged where there is none.
pub(crate) fn on_cluster(sql: &str, cluster: &str) -> Vec<String> {
    if cluster.is_empty() {
        return vec![sql.to_owned()];
    }
    if let Some(rest) = sql.strip_prefix("CREATE TABLE IF NOT EXISTS ") {
        let (name, rest) = word(rest);
        return if is_cut(name) { cut(name, rest, cluster) } else { vec![whole(name, rest, cluster)] };
    }
    if let Some(rest) = sql.strip_prefix("ALTER TABLE ") {
        let (name, rest) = word(rest);
        let name = if is_cut(name) { local(name) } else { name.to_owned() };
        return vec![format!("ALTER TABLE {name} ON CLUSTER '{cluster}'{rest}")];
    }
    for head in ["CREATE OR REPLACE VIEW ", "CREATE OR REPLACE DICTIONARY "] {
        if let Some(rest) = sql.strip_prefix(head) {
            let (name, rest) = word(rest);
            return vec![format!("{head}{name} ON CLUSTER '{cluster}'{rest}")];
        }
    }
    vec![sql.to_owned()]
}

/// The table that holds the rows of another on this server: on a cluster that is the one of its shard.
pub(crate) fn holder(table: &str, cluster: &str) -> String {
    if cluster.is_empty() || !is_cut(table) { table.to_owned() } else { local(table) }
}

/// Whether a table is cut by symbol.
fn is_cut(table: &str) -> bool {
    CUT.iter().any(|head| table.starts_with(head))
}

fn local(table: &str) -> String {
    format!("{table}_local")
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(' ').unwrap_or(text.len()))
}

/// The table of each shard, and the one over all of them: a security is always on the same shard, so that FINAL meets all
/// rows of a key.
fn cut(name: &str, rest: &str, cluster: &str) -> Vec<String> {
    let each = local(name);
    let rest = match rest.strip_prefix(" AS ") {
        Some(other) => {
            let (other, rest) = word(other);
            format!(" AS {}{rest}", local(other))
        }
        None => rest.to_owned(),
    };
    let rest = replicated(&rest, SHARDED);
    vec![
        format!("CREATE TABLE IF NOT EXISTS {each} ON CLUSTER '{cluster}'{rest}"),
        format!(
            "CREATE TABLE IF NOT EXISTS {name} ON CLUSTER '{cluster}' AS {each} ENGINE = Distributed('{cluster}', \
             currentDatabase(), {each}, symbol)"
        ),
    ]
}

fn whole(name: &str, rest: &str, cluster: &str) -> String {
    format!("CREATE TABLE IF NOT EXISTS {name} ON CLUSTER '{cluster}'{}", replicated(rest, WHOLE))
}

fn replicated(rest: &str, path: &str) -> String {
    rest.replace("ENGINE = ReplacingMergeTree(", &format!("ENGINE = ReplicatedReplacingMergeTree({path}, "))
        .replace("ENGINE = ReplacingMergeTree ", &format!("ENGINE = ReplicatedReplacingMergeTree({path}) "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_cluster_nothing_changes() {
        let sql =
            "CREATE TABLE IF NOT EXISTS bar_1d (a Int8) ENGINE = ReplacingMergeTree(version) ORDER BY a";
        assert_eq!(on_cluster(sql, ""), [sql]);
    }

    #[test]
    fn bars_are_cut_by_symbol_over_replicated_tables() {
        let sql =
            "CREATE TABLE IF NOT EXISTS bar_1d (a Int8) ENGINE = ReplacingMergeTree(version) ORDER BY a";
        assert_eq!(
            on_cluster(sql, "main"),
            [
                "CREATE TABLE IF NOT EXISTS bar_1d_local ON CLUSTER 'main' (a Int8) ENGINE = \
                 ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', version) ORDER \
                 BY a",
                "CREATE TABLE IF NOT EXISTS bar_1d ON CLUSTER 'main' AS bar_1d_local ENGINE = Distributed('main', \
                 currentDatabase(), bar_1d_local, symbol)",
            ]
        );
        let sql =
            "CREATE TABLE IF NOT EXISTS bar_5m AS bar_1m ENGINE = ReplacingMergeTree(version) ORDER BY a";
        assert!(on_cluster(sql, "main")[0].starts_with(
            "CREATE TABLE IF NOT EXISTS bar_5m_local ON CLUSTER 'main' AS bar_1m_local ENGINE = Replicated"
        ));
    }

    #[test]
    fn rows_are_in_the_table_of_the_shard() {
        assert_eq!(holder("bar_1d", ""), "bar_1d");
        assert_eq!(holder("bar_1d", "main"), "bar_1d_local");
        assert_eq!(holder("sqep_mark", "main"), "sqep_mark");
    }

    #[test]
    fn small_tables_are_whole_on_every_server() {
        let sql = "CREATE TABLE IF NOT EXISTS sqep_mark (a Int8) ENGINE = ReplacingMergeTree(seq) ORDER BY a";
        assert_eq!(
            on_cluster(sql, "main"),
            ["CREATE TABLE IF NOT EXISTS sqep_mark ON CLUSTER 'main' (a Int8) ENGINE = \
                 ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{table}', '{shard}-{replica}', seq) ORDER BY a"]
        );
    }

    #[test]
    fn views_dictionaries_and_settings_are_on_every_server() {
        let on = |sql| on_cluster(sql, "main").pop().unwrap();
        assert_eq!(
            on("CREATE OR REPLACE VIEW v AS SELECT 1"),
            "CREATE OR REPLACE VIEW v ON CLUSTER 'main' AS SELECT 1"
        );
        assert!(on("CREATE OR REPLACE DICTIONARY symbols (a Int8)").contains("symbols ON CLUSTER 'main' (a"));
        assert_eq!(
            on("ALTER TABLE bar_1m MODIFY SETTING a = 1"),
            "ALTER TABLE bar_1m_local ON CLUSTER 'main' MODIFY SETTING a = 1"
        );
    }
}
