//! Test harness: a test that lacks what it needs, such as a GPU adapter, shows as ignored with the reason, never
//! as passed.

use std::fmt::{Display, Formatter};
use std::ops::Deref;
use std::process::ExitCode;
use std::sync::{LazyLock, Mutex, PoisonError};

use gpu_backprop::gpu::{Adapter, adapters};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Set by `tests/run.sh` where no adapter can be had; never in CI.
const SKIP: &str = "GPU_BACKPROP_SKIP_GPU_TESTS";

/// Defines the function `trials` of a module. A test that is not listed is dead code, which is an error.
///
/// - `once`: functions without arguments;
/// - `with NEED`: functions of what `NEED()` returns, ignored where it returns [`Ignored`];
/// - `on_each_adapter`: functions of an [`AdapterUnderTest`], a trial for each;
/// - `also`: a list of trials made by the module itself.
macro_rules! trials {
    (@name $test:ident) => { concat!(module_path!(), "::", stringify!($test)) };
    (
        $(once: $($test:ident),+;)?
        $(with $need:ident: $($needing:ident),+;)*
        $(on_each_adapter: $($gpu:ident),+;)?
        $(also: $more:expr;)?
    ) => {
        pub fn trials() -> Vec<libtest_mimic::Trial> {
            std::iter::empty()
                $($(.chain([$crate::harness::trial(trials!(@name $test), || Ok(()), |()| $test())]))+)?
                $($(.chain([$crate::harness::trial(trials!(@name $needing), $need, $needing)]))+)*
                $($(.chain($crate::harness::on_each_adapter(trials!(@name $gpu), $gpu)))+)?
                $(.chain($more))?
                .collect()
        }
    };
}

/// The reason why a test cannot run here.
pub struct Ignored(pub String);

/// The result of a test: `()`, or a `Result` where it may turn out that it cannot run here.
pub trait Outcome {
    fn ignored(self) -> Result<(), Ignored>;
}

impl Outcome for () {
    fn ignored(self) -> Result<(), Ignored> {
        Ok(())
    }
}

impl Outcome for Result<(), Ignored> {
    fn ignored(self) -> Result<(), Ignored> {
        self
    }
}

static IGNORED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A test of what `need` returns.
pub fn trial<T: 'static, O: Outcome>(
    name: impl Into<String>,
    need: impl FnOnce() -> Result<T, Ignored> + Send + 'static,
    test: impl FnOnce(T) -> O + Send + 'static,
) -> Trial {
    let name = name.into();
    // The name of the binary comes first in the path of a module.
    let name = name.split_once("::").map_or(name.clone(), |(_, name)| name.to_string());
    Trial::ignorable_test(name.clone(), move || -> Result<Completion, Failed> {
        Ok(match need().and_then(|needed| test(needed).ignored()) {
            Ok(()) => Completion::Completed,
            Err(Ignored(reason)) => {
                IGNORED.lock().expect("no panic while it is locked").push(format!("{name}: {reason}"));
                Completion::ignored_with(reason)
            }
        })
    })
}

/// Runs the trials of all modules. The reasons of ignored ones are printed even with `--quiet`.
pub fn run<const N: usize>(modules: [Vec<Trial>; N]) -> ExitCode {
    let arguments = Arguments::from_args();
    let conclusion = libtest_mimic::run(&arguments, modules.into_iter().flatten().collect());
    if arguments.quiet {
        IGNORED.lock().expect("no panic while it is locked").iter().for_each(|line| eprintln!("IGNORED {line}"));
    }
    conclusion.exit_code()
}

/// An adapter that is tested.
pub struct AdapterUnderTest {
    /// The number that `--device` takes.
    pub number: String,
    adapter: Adapter,
}

impl Deref for AdapterUnderTest {
    type Target = Adapter;

    fn deref(&self) -> &Adapter {
        &self.adapter
    }
}

impl Display for AdapterUnderTest {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        self.description().fmt(formatter)
    }
}

/// The adapters of this machine.
pub static ADAPTERS: LazyLock<Vec<AdapterUnderTest>> = LazyLock::new(|| {
    let numbered = adapters().into_iter().enumerate();
    numbered.map(|(number, adapter)| AdapterUnderTest { number: number.to_string(), adapter }).collect()
});

/// Held by the test that uses GL.
static GL: Mutex<()> = Mutex::new(());

/// A trial of `test` for each adapter. Where there is none, it fails, unless `SKIP` is set.
pub fn on_each_adapter<O: Outcome + 'static>(name: &str, test: fn(&'static AdapterUnderTest) -> O) -> Vec<Trial> {
    let usable = |adapter: &AdapterUnderTest| match adapter.shortcomings() {
        shortcomings if shortcomings.is_empty() => Ok(()),
        shortcomings => Err(Ignored(shortcomings.join("; "))),
    };
    let on = |adapter: &'static AdapterUnderTest| {
        let alone = move || {
            // Of GL, wgpu has one context for an adapter, and gives up where another thread compiles for more than 6 s.
            let is_gl = adapter.description().backend.as_deref() == Some("gl");
            let _turn = is_gl.then(|| GL.lock().unwrap_or_else(PoisonError::into_inner));
            test(adapter)
        };
        trial(format!("{name} on {adapter}"), move || usable(adapter), move |()| alone())
    };
    let missing = ADAPTERS.iter().all(|adapter| usable(adapter).is_err()).then(|| {
        let without_adapter = || {
            assert!(
                std::env::var_os(SKIP).is_some(),
                "no GPU adapter found: install a Vulkan driver (apt install mesa-vulkan-drivers), or set {SKIP}=1"
            );
            Err::<(), _>(Ignored(format!("no GPU adapter found, and {SKIP} is set")))
        };
        trial(name, without_adapter, |()| ())
    });
    ADAPTERS.iter().map(on).chain(missing).collect()
}
