//! The way to a server: address, user, encryption. Knows certificates and time-outs; must not know a statement.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, anyhow};
use clickhouse::Client;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{ClickHouseError, Compression, Config};

/// A server closes an idle connection after three seconds by default; ours goes first.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// Who speaks to whom, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    /// The server, without what is secret.
    pub(crate) place: String,
    /// The user.
    pub(crate) user: String,
    /// The database.
    pub(crate) database: String,
}

impl Who {
    /// As the configuration says.
    pub(crate) fn of(config: &Config) -> Who {
        Who {
            place: sqep::redis::without_password(&config.url),
            user: config.user.clone(),
            database: config.database.clone(),
        }
    }
}

/// A client that has not connected yet.
pub(crate) fn client(config: &Config) -> Result<Client, ClickHouseError> {
    let connector = connector(config).map_err(ClickHouseError::File)?;
    let http = Http::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_MAX).build(connector);
    let compression = match config.compression {
        Compression::None => clickhouse::Compression::None,
        Compression::Lz4 => clickhouse::Compression::Lz4,
    };
    let client = Client::with_http_client(http)
        .with_url(&config.url)
        .with_user(&config.user)
        .with_database(&config.database)
        .with_compression(compression)
        .with_product_info("sqep-clickhouse", env!("CARGO_PKG_VERSION"));
    let secret = config.secret().map_err(ClickHouseError::File)?;
    Ok(if secret.is_empty() { client } else { client.with_password(secret.reveal()) })
}

fn connector(config: &Config) -> anyhow::Result<HttpsConnector<HttpConnector>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(Duration::from_secs(config.connect_timeout_s_max)));
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(config.tls_ca_file.as_deref())?)
        .with_no_client_auth();
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    Ok(builder.enable_http1().wrap_connector(tcp))
}

/// The CA of the configuration, else those of the system.
fn roots(file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let name = path.display();
    let text = fs::read(path).with_context(|| format!("cannot read tls_ca_file {name}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.ok().filter(|found| !found.is_empty());
    for each in certificates.ok_or_else(|| anyhow!("tls_ca_file {name} holds no certificate in PEM"))? {
        roots.add(each).with_context(|| format!("tls_ca_file {name} is not the CA's"))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_the_ca_of_the_configuration_no_other_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let told = || format!("{:#}", roots(Some(&file)).unwrap_err());
        assert!(told().contains("cannot read tls_ca_file"), "{}", told());
        fs::write(&file, "no PEM").unwrap();
        assert!(told().contains("holds no certificate in PEM"), "{}", told());
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(&file, made.cert.pem()).unwrap();
        assert_eq!(roots(Some(&file)).unwrap().len(), 1);
    }
}
