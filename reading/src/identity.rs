//! Who measured: a node is its Ed25519 key, shown as the libp2p PeerId of that key.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// A libp2p PeerId of an Ed25519 key: multihash `identity`, 36 bytes of protobuf (key type 1, 32 bytes of key).
/// libp2p specs, peer-ids section "Keys".
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// A node's public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub [u8; 32]);

/// Why a text is no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not the PeerId of an Ed25519 key (12D3KooW...)", .0.escape_default())]
pub struct NodeIdError(String);

impl NodeId {
    /// The bytes of the key's libp2p PeerId.
    pub fn peer_id_bytes(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// Reads the key out of the bytes of a PeerId; `None` where the PeerId holds no Ed25519 key.
    pub fn from_peer_id_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.strip_prefix(&PEER_ID_PREFIX)?.try_into().ok().map(Self)
    }
}

/// A node's public key as a point on its curve: ready to verify with.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey(VerifyingKey);

impl PublicKey {
    /// `None` where the bytes are no point on the curve: nobody has such a key, and no signature fits it.
    pub(crate) fn of(node: &NodeId) -> Option<Self> {
        VerifyingKey::from_bytes(&node.0).ok().map(Self)
    }

    pub(crate) fn is_of(&self, node: &NodeId) -> bool {
        *self.0.as_bytes() == node.0
    }

    /// Whether `signature` over `message` was made with this key. Strict: every holder must come to the same answer.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bs58::encode(self.peer_id_bytes()).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let refused = || NodeIdError(text.chars().take(80).collect());
        let bytes = bs58::decode(text).into_vec().map_err(|_| refused())?;
        Self::from_peer_id_bytes(&bytes).ok_or_else(refused)
    }
}

/// A node's secret key. The same key signs frames and names the peer on the mesh.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// A key from 32 secret random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The secret, to be kept in a file that nobody else can read.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.id())
    }
}

/// Which run of the kernel: the first 8 bytes of `/proc/sys/kernel/random/boot_id`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub [u8; 8]);

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libp2p specs, peer-ids.md, "Test vectors": the Ed25519 public key and RFC 8032 section 7.1 test 1.
    #[test]
    fn a_node_is_shown_as_its_libp2p_peer_id() {
        let id = NodeKey::from_seed([7; 32]).id();
        let shown = id.to_string();
        assert!(shown.starts_with("12D3KooW"), "{shown}");
        assert_eq!(shown.parse(), Ok(id));
        assert!("12D3KooWnonsense".parse::<NodeId>().is_err());
        assert!("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse::<NodeId>().is_err());
    }

    #[test]
    fn the_key_of_rfc_8032_test_1_has_its_public_key() {
        let seed = *b"\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60";
        let public = *b"\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a\x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a";
        assert_eq!(NodeKey::from_seed(seed).id(), NodeId(public));
    }
}
