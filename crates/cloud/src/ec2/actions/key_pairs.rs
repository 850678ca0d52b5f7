//! Key pairs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, private::RsaKeypair};

use super::{Action, Run, tags};
use crate::{
    Element,
    ec2::{
        error::{Answer, ApiError},
        ids,
        listing::Listing,
        records::{KeyPair, Records},
        service::{Call, Cloud},
    },
};

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "CreateKeyPair",
        parameters: &["KeyName", "KeyType", "KeyFormat", "TagSpecification"],
        without_effect: &[],
        run: Run::Change(create),
    },
    Action {
        name: "ImportKeyPair",
        parameters: &["KeyName", "PublicKeyMaterial", "TagSpecification"],
        without_effect: &[],
        run: Run::Change(import),
    },
    Action {
        name: "DescribeKeyPairs",
        parameters: &["KeyName", "KeyPairId", "Filter", "IncludePublicKey"],
        without_effect: &[],
        run: Run::Read(describe),
    },
    Action {
        name: "DeleteKeyPair",
        parameters: &["KeyName", "KeyPairId"],
        without_effect: &[],
        run: Run::Change(delete),
    },
];

const RSA_BITS: usize = 2048;

fn create(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let name = new_name(&cloud.records, call)?;
    if let Some(format) = call.parameters.text("KeyFormat").filter(|format| *format != "pem") {
        return Err(call.parameters.invalid("KeyFormat", format, "Only pem is supported here"));
    }
    let kind = call.parameters.text("KeyType").unwrap_or("rsa");
    let fail = |error: ssh_key::Error| ApiError::internal(format!("no key: {error}"));
    let mut random = ssh_key::rand_core::OsRng;
    let private = match kind {
        "rsa" => RsaKeypair::random(&mut random, RSA_BITS).map(PrivateKey::from),
        "ed25519" => PrivateKey::random(&mut random, Algorithm::Ed25519),
        _ => return Err(call.parameters.invalid("KeyType", kind, "Expected rsa or ed25519")),
    };
    let mut private = private.map_err(fail)?;
    private.set_comment(&name);
    let material = private.to_openssh(LineEnding::LF).map_err(fail)?;
    let public = private.public_key().clone();
    let answer = add(cloud, call, name, &public)?;
    Ok(answer.field("keyMaterial", material.as_str()))
}

fn import(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let name = new_name(&cloud.records, call)?;
    let refuse =
        || ApiError::new("InvalidKey.Format", "Key is not in valid OpenSSH public key format");
    let material = call.parameters.required("PublicKeyMaterial")?;
    let material = STANDARD.decode(material.trim()).map_err(|_| refuse())?;
    let text = String::from_utf8(material).map_err(|_| refuse())?;
    let mut public = PublicKey::from_openssh(text.trim()).map_err(|_| refuse())?;
    if !matches!(public.algorithm(), Algorithm::Rsa { .. } | Algorithm::Ed25519) {
        let message = format!("Keys are RSA or ED25519, not {}", public.algorithm());
        return Err(ApiError::new("InvalidKey.Format", message));
    }
    public.set_comment(&name);
    add(cloud, call, name, &public)
}

fn new_name(records: &Records, call: &Call<'_>) -> Result<String, ApiError> {
    let name = call.parameters.required("KeyName")?;
    // It becomes the comment of a line in authorized_keys.
    if name.len() > 255 || name.trim() != name || !name.bytes().all(|b| (b' '..=b'~').contains(&b))
    {
        let wanted = "A name has up to 255 ASCII characters and no spaces around it";
        return Err(call.parameters.invalid("KeyName", name, wanted));
    }
    if records.key_pairs.contains_key(name) {
        let message = format!("The keypair '{name}' already exists.");
        return Err(ApiError::new("InvalidKeyPair.Duplicate", message));
    }
    Ok(name.to_owned())
}

/// Records a key pair. The answer has everything but its private key.
fn add(cloud: &mut Cloud, call: &Call<'_>, name: String, public: &PublicKey) -> Answer {
    let fail = |error: ssh_key::Error| ApiError::internal(format!("no key: {error}"));
    let kind = if public.algorithm() == Algorithm::Ed25519 { "ed25519" } else { "rsa" };
    let pair = KeyPair {
        id: ids::new("key")?,
        kind: kind.to_owned(),
        fingerprint: fingerprint(public),
        public: public.to_openssh().map_err(fail)?,
        created: call.now,
    };
    let tags = tags::Specifications::parse(&call.parameters, &["key-pair"])?;
    tags.apply(&mut cloud.records, "key-pair", &pair.id)?;
    let answer = Element::new("")
        .field("keyName", &name)
        .field("keyFingerprint", &pair.fingerprint)
        .field("keyPairId", &pair.id)
        .list("tagSet", tags::items(&cloud.records, &pair.id));
    cloud.records.key_pairs.insert(name, pair);
    Ok(answer)
}

/// The key's SHA-256, as `ssh-keygen -l` shows it, without the name of the hash.
fn fingerprint(public: &PublicKey) -> String {
    let text = public.fingerprint(HashAlg::Sha256).to_string();
    text.trim_start_matches("SHA256:").to_owned() + "="
}

fn describe(cloud: &Cloud, call: &Call<'_>) -> Answer {
    const LISTING: Listing = Listing {
        set: "keySet",
        id: ("KeyName", "keyName"),
        names: &[("KeyPairId", "keyPairId")],
        not_found: "InvalidKeyPair.NotFound",
        what: "key pair",
        filters: &[
            ("fingerprint", "keyFingerprint"),
            ("key-name", "keyName"),
            ("key-pair-id", "keyPairId"),
        ],
        page: None,
    };
    let with_public = call.parameters.flag("IncludePublicKey")?.unwrap_or(false);
    let item = |(name, pair): (&String, &KeyPair)| {
        Element::new("item")
            .field("keyPairId", &pair.id)
            .field("keyType", &pair.kind)
            .field("keyName", name)
            .field("keyFingerprint", &pair.fingerprint)
            .field_if("publicKey", with_public.then_some(&pair.public))
            .field("createTime", pair.created)
            .list("tagSet", tags::items(&cloud.records, &pair.id))
    };
    LISTING.answer(&call.parameters, cloud.records.key_pairs.iter().map(item).collect())
}

/// Deleting what is not there succeeds, as with EC2.
fn delete(cloud: &mut Cloud, call: &Call<'_>) -> Answer {
    let records = &mut cloud.records;
    let name = match (call.parameters.text("KeyName"), call.parameters.text("KeyPairId")) {
        (Some(name), None) => Some(name.to_owned()),
        (None, Some(id)) => {
            let mut pairs = records.key_pairs.iter();
            pairs.find(|(_, pair)| pair.id == id).map(|(name, _)| name.clone())
        }
        (None, None) => return Err(ApiError::missing("KeyName")),
        (Some(_), Some(_)) => {
            return Err(ApiError::combination("Give either KeyName or KeyPairId, not both"));
        }
    };
    let deleted = name.and_then(|name| records.key_pairs.remove(&name));
    if let Some(pair) = &deleted {
        records.tags.remove(&pair.id);
    }
    Ok(Element::new("").field("return", true).field_if("keyPairId", deleted.map(|pair| pair.id)))
}
