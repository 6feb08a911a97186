//! Who may do what in the cluster: two authorities, made anew by each `up`, and a client certificate for each program and for the
//! administrator. There is no password and no token that would outlive the cluster.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

use super::layout::{self, API_PORT, API_SERVICE, NODE_ADDRESS, NODE_NAME};

/// The user as whom the API server speaks to the kubelet.
pub(super) const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// A program's place in Kubernetes: the file that names it, its user and its group.
const CLIENTS: [(&str, &str, Option<&str>); 6] = [
    ("admin", "enlace-cluster-admin", Some("system:masters")),
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("kubelet", "system:node:node1", Some("system:nodes")),
    ("proxy", "system:kube-proxy", None),
    ("provisioner", "enlace-cluster-provisioner", Some("system:masters")),
];

/// Writes all keys, certificates and kubeconfigs into the cluster's folder.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write() -> anyhow::Result<()> {
    let kubernetes = Authority::new("kubernetes")?;
    let etcd = Authority::new("etcd")?;
    kubernetes.serve(
        "apiserver",
        &[
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            API_SERVICE,
            NODE_ADDRESS,
        ],
    )?;
    kubernetes.serve("kubelet-server", &[NODE_NAME, NODE_ADDRESS])?;
    kubernetes.identify("apiserver-kubelet-client", KUBELET_CLIENT, None)?;
    etcd.serve("etcd-server", &["127.0.0.1"])?;
    etcd.identify("apiserver-etcd-client", "kube-apiserver", None)?;
    for (name, user, group) in CLIENTS {
        kubernetes.identify(name, user, group)?;
        private(&kubeconfig(name), &kubeconfig_text(name))?;
    }
    // Service accounts' tokens are signed with this, and checked with its public half.
    let tokens = KeyPair::generate()?;
    private(&key("service-accounts"), &tokens.serialize_pem())?;
    private(&layout::path("pki/service-accounts.pub"), &tokens.public_key_pem())
}

/// A certificate of this module's.
pub(super) fn certificate(name: &str) -> PathBuf {
    layout::path(format!("pki/{name}.crt"))
}

/// The key of a certificate.
pub(super) fn key(name: &str) -> PathBuf {
    layout::path(format!("pki/{name}.key"))
}

/// The kubeconfig of a client.
pub(super) fn kubeconfig(name: &str) -> PathBuf {
    if name == "admin" { layout::kubeconfig() } else { layout::path(format!("{name}.kubeconfig")) }
}

/// Writes a file that only root can read.
///
/// # Errors
/// The file cannot be written.
pub(super) fn private(file: &Path, text: &str) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Whoever signs certificates, by a key that is never written down.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(&format!("enlace-cluster-{name}"), None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        private(&certificate(&format!("{name}-ca")), &issuer.pem())?;
        Ok(Self(issuer))
    }

    /// A server's certificate. etcd also shows it as a client, to itself.
    fn serve(&self, name: &str, addresses: &[&str]) -> anyhow::Result<()> {
        let names: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = distinguished(name, None);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(name, params)
    }

    /// A client's certificate: its common name is the user, its organisation the group.
    fn identify(&self, name: &str, user: &str, group: Option<&str>) -> anyhow::Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(name, params)
    }

    fn issue(&self, name: &str, mut params: CertificateParams) -> anyhow::Result<()> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let pair = KeyPair::generate()?;
        let signed = params.signed_by(&pair, &self.0)?;
        private(&certificate(name), &signed.pem())?;
        private(&key(name), &pair.serialize_pem())
    }
}

fn distinguished(common: &str, organisation: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    if let Some(organisation) = organisation {
        name.push(DnType::OrganizationName, organisation);
    }
    name
}

fn kubeconfig_text(name: &str) -> String {
    let authority = certificate("kubernetes-ca");
    let (certificate, key) = (certificate(name), key(name));
    format!(
        "apiVersion: v1
kind: Config
clusters:
  - name: enlace-cluster
    cluster:
      server: https://{NODE_ADDRESS}:{API_PORT}
      certificate-authority: {authority}
users:
  - name: {name}
    user:
      client-certificate: {certificate}
      client-key: {key}
contexts:
  - name: enlace-cluster
    context:
      cluster: enlace-cluster
      user: {name}
current-context: enlace-cluster
",
        authority = authority.display(),
        certificate = certificate.display(),
        key = key.display(),
    )
}
