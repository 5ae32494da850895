//! The certificate of the listener. Knows PEM and which key of the configuration names a file.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, anyhow, bail};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::config::AgentSettings;

/// What speaks TLS to agents; `None`: nothing is configured.
pub fn acceptor(settings: &AgentSettings) -> anyhow::Result<Option<TlsAcceptor>> {
    let (cert, key) = match (&settings.tls_cert_file, &settings.tls_key_file) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return Ok(None),
        (Some(cert), None) => {
            bail!("agent.tls_cert_file is {}, its key is missing: set agent.tls_key_file", cert.display())
        }
        (None, Some(key)) => {
            bail!(
                "agent.tls_key_file is {}, its certificate is missing: set agent.tls_cert_file",
                key.display()
            )
        }
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read("tls_cert_file", cert)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain
        .with_context(|| format!("agent.tls_cert_file {} holds no certificate in PEM", cert.display()))?;
    // What the parser says could quote the key itself.
    let secret = PrivateKeyDer::from_pem_slice(&read("tls_key_file", key)?).map_err(|_| {
        anyhow!("agent.tls_key_file {} holds no unencrypted private key in PEM (PRIVATE KEY)", key.display())
    })?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| {
            let (cert, key) = (cert.display(), key.display());
            format!("agent.tls_cert_file {cert} and agent.tls_key_file {key} do not belong together")
        })?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn read(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read agent.{key} {}", path.display()))
}
