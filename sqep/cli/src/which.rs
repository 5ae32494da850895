//! Which streams a command is about. Knows configuration and keys; must not know what is done with them.

use anyhow::{Context, anyhow, bail};
use sqep::{
    Kind,
    app::Usage,
    redis::{Server, inspect::Inspector, keys::Keys},
};

use crate::config::Config;

/// Arguments of commands about one kind's streams.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Which {
    /// What the streams hold: bar:1d, bar:1m and so on; by default stream.kind.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Only this stream, by its key as `sqep status` shows it.
    #[arg(long, value_name = "KEY", conflicts_with = "kind")]
    stream: Option<String>,
}

/// The partitions of one kind that a command is about.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    pub(crate) kind: Kind,
    /// Number and keys of each.
    pub(crate) partitions: Vec<(u16, Keys)>,
}

impl Which {
    /// Finds them; the server knows over how many partitions a kind is spread.
    pub(crate) async fn find(&self, server: &Server, config: &Config) -> anyhow::Result<Streams> {
        if let Some(key) = &self.stream {
            let (kind, partition) = parse(key).map_err(|error| anyhow!(Usage(error)))?;
            return Ok(Streams { kind, partitions: vec![(partition, Keys::of(key))] });
        }
        let (kind, prefix) = (self.kind.unwrap_or(config.stream.kind), &config.stream.prefix);
        let stored = Inspector::connect(server).await?.partitions(prefix, kind).await?;
        let count = stored.unwrap_or(config.stream.partitions).max(1);
        let keys = |partition| (partition, Keys::new(prefix, kind, partition));
        Ok(Streams { kind, partitions: (0..count).map(keys).collect() })
    }
}

/// Kind and partition of a key such as `sqep:{bar:1d:0}`.
fn parse(key: &str) -> anyhow::Result<(Kind, u16)> {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.strip_suffix('}'));
    let Some((kind, partition)) = tag.and_then(|tag| tag.rsplit_once(':')) else {
        bail!("--stream {key:?} is no key of a stream, like 'sqep:{{bar:1d:0}}'");
    };
    let context = || format!("--stream {key:?}");
    Ok((kind.parse::<Kind>().with_context(context)?, partition.parse::<u16>().with_context(context)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_kind_and_partition() {
        assert_eq!(parse("my:{bar:5m:12}").unwrap(), ("bar:5m".parse().unwrap(), 12));
        for wrong in ["sqep:bar:1d:0", "sqep:{bar:1d}", "sqep:{bar:9d:0}", "sqep:{bar:1d:x}"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
