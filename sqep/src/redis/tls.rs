//! The files of a TLS connection: a private CA, this program's certificate and its key.
//!
//! Knows PEM and which key of the configuration names a file; must not know a command. The files are read again for
//! every connection, so that renewed ones are taken up without a restart.

use std::{error::Error as _, fs, io, path::PathBuf, sync::Arc};

use anyhow::{Context, anyhow, bail};
use redis::RedisError;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::RedisSettings;

/// Which files; all may be absent: then the CAs of the system count and the server must not ask who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    ca: Option<PathBuf>,
    own: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// Those of the settings. `encrypted`: whether the URL asks for TLS.
    pub(super) fn of(settings: &RedisSettings, encrypted: bool) -> anyhow::Result<Files> {
        let named = [
            ("tls_ca_file", &settings.tls_ca_file),
            ("tls_cert_file", &settings.tls_cert_file),
            ("tls_key_file", &settings.tls_key_file),
        ];
        if let (false, Some((key, Some(path)))) = (encrypted, named.iter().find(|(_, path)| path.is_some())) {
            let path = path.display();
            bail!("redis.{key} is {path}, but redis.url does not ask for TLS: write rediss://host:port");
        }
        let own = match (settings.tls_cert_file.clone(), settings.tls_key_file.clone()) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(cert), None) => {
                bail!("redis.tls_cert_file is {}, its key is missing: set redis.tls_key_file", cert.display())
            }
            (None, Some(key)) => {
                bail!(
                    "redis.tls_key_file is {}, its certificate is missing: set redis.tls_cert_file",
                    key.display()
                )
            }
        };
        Ok(Files { ca: settings.tls_ca_file.clone(), own })
    }

    /// Reads and proves them: each holds what its key says, and certificate and key belong together.
    pub(super) fn read(&self) -> anyhow::Result<ClientConfig> {
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?);
        let Some((cert, key)) = &self.own else { return Ok(client.with_no_client_auth()) };
        let chain = certificates("tls_cert_file", cert)?;
        // What the parser says could quote the key itself.
        let secret = PrivateKeyDer::from_pem_slice(&read("tls_key_file", key)?).map_err(|_| {
            let key = key.display();
            anyhow!("redis.tls_key_file {key} holds no unencrypted private key in PEM (PRIVATE KEY)")
        })?;
        client.with_client_auth_cert(chain, secret).with_context(|| {
            let (cert, key) = (cert.display(), key.display());
            format!("redis.tls_cert_file {cert} and redis.tls_key_file {key} do not belong together")
        })
    }

    /// The CA of the settings, else those of the system.
    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        for certificate in certificates("tls_ca_file", path)? {
            let added = roots.add(certificate);
            added.with_context(|| format!("redis.tls_ca_file {} is not the CA's", path.display()))?;
        }
        Ok(roots)
    }
}

fn read(key: &str, path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read redis.{key} {}", path.display()))
}

fn certificates(key: &str, path: &PathBuf) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(key, path)?).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.with_context(|| format!("redis.{key} {} holds no certificate in PEM (CERTIFICATE)", path.display()))
}

/// What a failed handshake asks of the operator; `None`: it did not fail for a certificate.
pub(super) fn advice(error: &RedisError) -> Option<&'static str> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, HandshakeFailure, UnknownCA, UnsupportedCertificate,
    };
    let inner = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    let inner = inner.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?;
    match inner {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("has a certificate for another name: write that name into redis.url"),
        rustls::Error::InvalidCertificate(_) => {
            Some("has a certificate that is not trusted: name the CA that signed it in redis.tls_ca_file")
        }
        rustls::Error::AlertReceived(
            AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | HandshakeFailure
            | UnknownCA
            | UnsupportedCertificate,
        ) => Some("does not accept our certificate: check redis.tls_cert_file and redis.tls_key_file"),
        _ => None,
    }
}
