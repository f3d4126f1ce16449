//! The certificates and keys of one control plane, made fresh for it: a CA and the one that may follow it, the API server's
//! serving certificate, client certificates for people, and the key pair that signs service-account tokens. Writes nothing but
//! where it is told to.
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SigningKey,
};
use serde_json::{Value, json};

use crate::error::{Doing as _, Error, Result};

/// A server takes a token for so many seconds after its end.
const TOKEN_LEEWAY: i64 = 60;

/// A certificate and its private key, both PEM.
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Who signs the API server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The CA that the control plane began with. It signs all else.
    First,
    /// The one that follows it.
    Next,
}

/// PEM; the private half signs service-account tokens, the public half checks them.
#[derive(Debug, Clone)]
pub(crate) struct TokenKey {
    pub(crate) private: String,
    pub(crate) public: String,
}

impl TokenKey {
    fn new() -> Result<Self> {
        let key = KeyPair::generate().doing(|| "make the key for tokens".into())?;
        Ok(Self { private: key.serialize_pem(), public: key.public_key_pem() })
    }
}

pub(crate) struct Pki {
    first: CertifiedIssuer<'static, KeyPair>,
    next: CertifiedIssuer<'static, KeyPair>,
    token_key: Mutex<TokenKey>,
}

impl Pki {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            first: authority("vedette test CA")?,
            next: authority("vedette test CA that follows")?,
            token_key: Mutex::new(TokenKey::new()?),
        })
    }

    /// The CA's certificate, PEM.
    pub(crate) fn ca(&self) -> String {
        self.certificates(&[Authority::First])
    }

    /// The certificates of these, PEM, as one file that trusts them all.
    pub(crate) fn certificates(&self, authorities: &[Authority]) -> String {
        authorities.iter().map(|&authority| self.issuer(authority).pem()).collect()
    }

    /// What the harness's own parts trust, so that they outlive every renewal.
    pub(crate) fn both(&self) -> String {
        self.certificates(&[Authority::First, Authority::Next])
    }

    /// The key that signs tokens now.
    pub(crate) fn token_key(&self) -> TokenKey {
        self.tokens().clone()
    }

    /// Another key from now on.
    pub(crate) fn renew_token_key(&self) -> Result<TokenKey> {
        let key = TokenKey::new()?;
        self.tokens().clone_from(&key);
        Ok(key)
    }

    fn tokens(&self) -> MutexGuard<'_, TokenKey> {
        self.token_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issuer(&self, authority: Authority) -> &CertifiedIssuer<'static, KeyPair> {
        match authority {
            Authority::First => &self.first,
            Authority::Next => &self.next,
        }
    }

    /// For a server that is known by these names and addresses.
    pub(crate) fn server(&self, name: &str, group: Option<&str>, known_as: &[String]) -> Result<Certified> {
        self.server_by(Authority::First, name, group, known_as)
    }

    /// The same, signed by this one.
    pub(crate) fn server_by(
        &self,
        authority: Authority,
        name: &str,
        group: Option<&str>,
        known_as: &[String],
    ) -> Result<Certified> {
        let mut params = named(name, group);
        params.subject_alt_names =
            CertificateParams::new(known_as).doing(|| format!("name the server {name}"))?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(authority, params)
    }

    /// For a person: the API server takes the common name as user and the organization as group.
    pub(crate) fn person(&self, name: &str, group: Option<&str>) -> Result<Certified> {
        let mut params = named(name, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(Authority::First, params)
    }

    /// A token with the claims of another one, for another time.
    pub(crate) fn retime(&self, token: &str, now: i64, valid_for: Duration) -> Result<String> {
        let no_token = || Error::Unexpected("this is no token of a service account".to_owned());
        let mut parts = token.split('.');
        let (header, claims) = parts.next().zip(parts.next()).ok_or_else(no_token)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| no_token())?;
        let mut claims: Value = serde_json::from_slice(&claims).map_err(|_| no_token())?;
        let ends = now + i64::try_from(valid_for.as_secs()).unwrap_or(i64::MAX) - TOKEN_LEEWAY;
        for (claim, time) in [("iat", ends - 600), ("nbf", ends - 600), ("exp", ends)] {
            claims[claim] = json!(time);
        }
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let key = KeyPair::from_pem(&self.token_key().private).doing(|| "read the key for tokens".into())?;
        let signature = SigningKey::sign(&key, signed.as_bytes()).doing(|| "sign a token".into())?;
        let signature =
            fixed(&signature).ok_or_else(|| Error::Unexpected("the key for tokens is no P-256 key".into()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, authority: Authority, mut params: CertificateParams) -> Result<Certified> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let issuer = self.issuer(authority);
        KeyPair::generate()
            .and_then(|key| {
                Ok(Certified { certificate: params.signed_by(&key, issuer)?.pem(), key: key.serialize_pem() })
            })
            .doing(|| "sign a certificate".into())
    }
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = named(name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    KeyPair::generate()
        .and_then(|key| CertifiedIssuer::self_signed(params, key))
        .doing(|| format!("make the CA {name:?}"))
}

/// A signature's two numbers at their full length, as tokens carry it, from ASN.1: SEQUENCE { INTEGER, INTEGER }.
fn fixed(signature: &[u8]) -> Option<[u8; 64]> {
    let mut rest = signature.strip_prefix(&[0x30])?.get(1..)?;
    let mut numbers = [0; 64];
    for number in numbers.chunks_exact_mut(32) {
        let length = usize::from(*rest.strip_prefix(&[0x02])?.first()?);
        let digits = rest.get(2..2 + length)?;
        rest = rest.get(2 + length..)?;
        // A leading zero only says that the number is not negative.
        let digits = if digits.len() > 32 { digits.strip_prefix(&[0])? } else { digits };
        number.get_mut(32 - digits.len()..)?.copy_from_slice(digits);
    }
    Some(numbers)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_signature_is_its_two_numbers_at_full_length() {
        let short = [&[0x30, 37, 0x02, 1, 7, 0x02, 32][..], &[0x55; 32]].concat();
        assert_eq!(fixed(&short).unwrap(), [&[0; 31][..], &[7], &[0x55; 32]].concat()[..]);
        let padded = [&[0x30, 70, 0x02, 33, 0][..], &[0xff; 32], &[0x02, 33, 0], &[0x80; 32]].concat();
        assert_eq!(fixed(&padded).unwrap(), [[0xff; 32], [0x80; 32]].concat()[..]);
        assert_eq!(fixed(&[0x30, 3, 0x02, 9, 1]), None);
    }

    #[test]
    fn a_token_for_another_time_has_the_same_claims() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":5000,"iat":1000,"nbf":1000,"sub":"someone"}"#);
        let token = Pki::new().unwrap().retime(&format!("e30.{claims}.c2ln"), 10_000, Duration::from_secs(5)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(claims, json!({"exp": 9945, "iat": 9345, "nbf": 9345, "sub": "someone"}));
        assert_eq!((parts[0], URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len()), ("e30", 64));
    }
}
