//! `cargo xtask cluster`: a real Kubernetes of one node on this machine, for tests.
//!
//! * [`host`]: what the machine must be, and what is installed,
//! * [`programs`]: what is built, once, and where it is kept,
//! * [`layout`]: the fixed names: folder, addresses, links,
//! * [`credentials`]: authorities and certificates, new for each cluster,
//! * [`configuration`]: the files that its programs read,
//! * [`network`]: the node's links and the filter around them,
//! * [`pause`]: the image that every pod needs,
//! * [`process`]: programs that go on when this one has ended,
//! * [`up`] and [`down`]: the way from nothing to a cluster, and back,
//! * [`testing`] and [`measuring`]: the tests and the benchmark that run on it.
//!
//! `tests/cluster/README.md` says what this Kubernetes has and what it lacks.

mod configuration;
mod credentials;
mod down;
mod host;
mod layout;
mod measuring;
mod network;
mod pause;
mod process;
mod programs;
mod testing;
mod up;

pub(crate) use self::measuring::{can_measure, measure};
pub(crate) use self::testing::{announce, test};

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use self::programs::Programs;
use crate::helm;
use crate::run::{self, Outcome};
use crate::setup;
use crate::workspace::Workspace;

/// The variable that names the kubeconfig of a cluster of one's own. `KUBECONFIG` is never looked at: it may name anything.
const OWN_CLUSTER: &str = "ENLACE_TEST_KUBECONFIG";

/// The variable with the file of the audit log.
const AUDIT_LOG: &str = "ENLACE_TEST_AUDIT_LOG";
/// The variable with the address of this machine at which pods reach a server of a test.
const DATABASE_ADDRESS: &str = "ENLACE_TEST_DATABASE_ADDRESS";

/// Options of `cargo xtask cluster`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a cluster of one node, or say that it runs.
    Up,
    /// End it and remove everything it made.
    Down,
    /// Put images of OCI archives into it.
    Load {
        /// Archives, as `cargo xtask images` makes them.
        #[arg(required = true, value_name = "ARCHIVE")]
        archives: Vec<PathBuf>,
    },
    /// Run the tests that need it: all, or those with one of these words in their names.
    Test {
        /// Words of names.
        words: Vec<String>,
    },
    /// Say whether it runs, and where its credentials and logs are.
    Status,
}

/// Does what was asked.
///
/// # Errors
/// The machine cannot run a cluster, or a part of it fails: which one, and its last words.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::open()?;
    match &options.verb {
        Verb::Up => {
            up(&workspace)?;
            status()
        }
        Verb::Down => down(),
        Verb::Test { words } => match test(&workspace, words)? {
            Outcome::Passed => Ok(ExitCode::SUCCESS),
            Outcome::PassedWithout(parts) => bail!("not everything ran: {}", parts.join("; ")),
            Outcome::Skipped(reason) => bail!("no test cluster can run here: {reason}"),
        },
        Verb::Load { archives } => load(archives).map(|()| ExitCode::SUCCESS),
        Verb::Status => status(),
    }
}

/// A cluster for tests.
struct Cluster {
    /// The administrator's kubeconfig.
    kubeconfig: PathBuf,
    /// Where requests of service accounts are written down; none for a cluster of one's own.
    audit_log: Option<PathBuf>,
    /// An address of this machine that pods reach and no other machine does; none for a cluster of one's own.
    node_address: Option<&'static str>,
    /// A folder with `kubectl` and `helm`; none for a cluster of one's own, whose owner has them.
    programs: Option<PathBuf>,
}

impl Cluster {
    /// Tells a program of it in its environment, and where to find `kubectl` and `helm`.
    fn tell(&self, command: &mut Command) -> anyhow::Result<()> {
        let Self { kubeconfig, audit_log, node_address, programs } = self;
        command.env(OWN_CLUSTER, kubeconfig);
        if let Some(audit_log) = audit_log {
            command.env(AUDIT_LOG, audit_log);
        }
        if let Some(node_address) = node_address {
            command.env(DATABASE_ADDRESS, node_address);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = programs.iter().cloned().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders)?);
        Ok(())
    }
}

/// Starts a cluster, unless one runs: that one is used. One that is half dead is ended first.
///
/// # Errors
/// As for [`run`].
fn up(workspace: &Workspace) -> anyhow::Result<Cluster> {
    if let Some(kubeconfig) = own_cluster() {
        println!("{OWN_CLUSTER} names the cluster of {}: nothing is started.", kubeconfig.display());
        return Ok(Cluster { kubeconfig, audit_log: None, node_address: None, programs: None });
    }
    if let Some(obstacle) = host::obstacle() {
        bail!("no test cluster can run here: {obstacle}");
    }
    host::install_packages()?;
    let programs = Programs::of(workspace)?;
    programs.build(workspace)?;
    let _alone = alone()?;
    if layout::folder().exists() {
        if runs(&programs) {
            println!("The test cluster runs.");
            return Ok(ours());
        }
        println!("Ending a test cluster that is of other sources or half dead.");
        down::stop_all()?;
    }
    let started = Instant::now();
    println!("Starting the test cluster.");
    if let Err(error) = up::start_all(&programs) {
        let kept = keep_logs();
        down::stop_all()?;
        return Err(
            error.context(format!("the test cluster did not start; its logs are in {}", kept.display()))
        );
    }
    println!("The test cluster is ready after {:.1} s.", started.elapsed().as_secs_f64());
    Ok(ours())
}

/// Puts images into the cluster that runs.
///
/// # Errors
/// No cluster runs, it is one's own, or an archive is not one.
fn load(archives: &[PathBuf]) -> anyhow::Result<()> {
    if let Some(kubeconfig) = own_cluster() {
        bail!(
            "{OWN_CLUSTER} names the cluster of {}: push the images to a registry that its nodes can pull from, or load them as its \
             documentation says",
            kubeconfig.display()
        );
    }
    if !layout::folder().exists() {
        bail!("no test cluster runs: cargo xtask cluster up");
    }
    for archive in archives {
        let done = network::quietly(up::ctr().args(["images", "import"]).arg(archive))
            .with_context(|| format!("cannot load {}", archive.display()))?;
        for line in done.lines() {
            let name = line.trim_start_matches("unpacking ").split(" (").next().unwrap_or(line);
            println!("loaded {name}");
        }
    }
    Ok(())
}

fn down() -> anyhow::Result<ExitCode> {
    if let Some(kubeconfig) = own_cluster() {
        bail!(
            "{OWN_CLUSTER} names the cluster of {}: it was not started here and is left alone",
            kubeconfig.display()
        );
    }
    if !layout::folder().exists() {
        println!("No test cluster runs.");
        return Ok(ExitCode::SUCCESS);
    }
    let _alone = alone()?;
    down::stop_all()?;
    println!("The test cluster is gone.");
    Ok(ExitCode::SUCCESS)
}

/// Prints a table. The exit code says whether there is a cluster that answers.
fn status() -> anyhow::Result<ExitCode> {
    if let Some(kubeconfig) = own_cluster() {
        println!("{:12}one's own ({OWN_CLUSTER})", "state");
        println!("{:12}{}", "kubeconfig", kubeconfig.display());
        return Ok(ExitCode::SUCCESS);
    }
    if !layout::folder().exists() {
        println!("{:12}down", "state");
        return Ok(ExitCode::FAILURE);
    }
    let healthy = up::is_healthy();
    println!(
        "{:12}{}",
        "state",
        if healthy { "ready" } else { "half dead: cargo xtask cluster up starts it anew" }
    );
    println!("{:12}{}", "kubeconfig", layout::kubeconfig().display());
    println!("{:12}{}", "audit log", layout::audit_log().display());
    println!("{:12}{}", "logs", layout::path("logs").display());
    println!("{:12}{}", "programs", layout::path("bin").display());
    let programs = [("kubernetes", layout::path("bin/kube-apiserver")), ("containerd", "containerd".into())];
    for (name, program) in programs {
        let version = network::quietly(Command::new(program).arg("--version"));
        println!("{name:12}{}", version.unwrap_or_else(|error| error.to_string()).trim());
    }
    println!("{:12}{}", "helm", helm::VERSION);
    println!(
        "\nexport KUBECONFIG={} PATH={}:$PATH",
        layout::kubeconfig().display(),
        layout::path("bin").display()
    );
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ours() -> Cluster {
    Cluster {
        kubeconfig: layout::kubeconfig(),
        audit_log: Some(layout::audit_log()),
        node_address: Some(layout::NODE_ADDRESS),
        programs: Some(layout::path("bin")),
    }
}

/// Whether the cluster that is there is whole and of these sources.
fn runs(programs: &Programs) -> bool {
    let linked = fs::read_link(layout::path("bin/kubectl"));
    linked.is_ok_and(|file| file.starts_with(&programs.kubernetes)) && up::is_healthy()
}

fn own_cluster() -> Option<PathBuf> {
    std::env::var_os(OWN_CLUSTER).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// One `up` or `down` at a time. The lock ends with the process that has it.
fn alone() -> anyhow::Result<File> {
    let folder = setup::cache().context("HOME is not set: there is no folder for a lock")?;
    fs::create_dir_all(&folder)?;
    let file = File::create(folder.join("cluster.lock"))?;
    file.lock().context("cannot lock the test cluster")?;
    Ok(file)
}

/// Copies the logs of a cluster that did not start to where `down` does not remove them.
fn keep_logs() -> PathBuf {
    let folder = std::env::temp_dir().join("enlace-cluster-logs");
    let copy = || -> anyhow::Result<()> {
        fs::create_dir_all(&folder)?;
        run::run(
            Command::new("cp").args(["-r", "--no-target-directory"]).arg(layout::path("logs")).arg(&folder),
        )
    };
    if let Err(error) = copy() {
        eprintln!("cannot keep the logs: {error:#}");
    }
    folder
}
