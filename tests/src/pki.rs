//! The certificates and keys of one control plane, made fresh for it: a CA, the API server's serving certificate, client
//! certificates for people, and the key pair that signs service-account tokens. Writes nothing but where it is told to.
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::error::{Doing as _, Result};

/// A certificate and its private key, both PEM.
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
    /// PEM; the private half signs service-account tokens, the public half checks them.
    pub(crate) token_key: String,
    pub(crate) token_public_key: String,
}

impl Pki {
    pub(crate) fn new() -> Result<Self> {
        let mut params = named("vedette test CA", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let tokens = KeyPair::generate().doing(|| "make the key for tokens".into())?;
        Ok(Self {
            ca: KeyPair::generate()
                .and_then(|key| CertifiedIssuer::self_signed(params, key))
                .doing(|| "make the CA".into())?,
            token_key: tokens.serialize_pem(),
            token_public_key: tokens.public_key_pem(),
        })
    }

    /// The CA's certificate, PEM.
    pub(crate) fn ca(&self) -> String {
        self.ca.pem()
    }

    /// For a server on loopback.
    pub(crate) fn server(&self) -> Result<Certified> {
        let mut params = named("kube-apiserver", None);
        params.subject_alt_names = CertificateParams::new(["localhost".into(), "127.0.0.1".into()])
            .doing(|| "name the server".into())?
            .subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// For a person: the API server takes the common name as user and the organization as group.
    pub(crate) fn person(&self, name: &str, group: Option<&str>) -> Result<Certified> {
        let mut params = named(name, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Certified> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        KeyPair::generate()
            .and_then(|key| {
                Ok(Certified { certificate: params.signed_by(&key, &self.ca)?.pem(), key: key.serialize_pem() })
            })
            .doing(|| "sign a certificate".into())
    }
}

fn named(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    params
}
