//! Long trainings take no more memory than short ones.

#[cfg(not(target_os = "linux"))]
#[test]
#[ignore = "the memory of a child process is measured on Linux only"]
fn two_thousand_epochs_take_the_memory_of_two_hundred() {
    panic!("it can only run on Linux");
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::measured::measured;
    use crate::program::{Folder, program};

    /// Kilobytes for the reports of 1,800 epochs more, and for what allocators and drivers do not give back.
    const ALLOWED: u64 = 6_000;

    /// The most memory that a training of so many epochs takes, in kilobytes.
    fn most(device: &str, epochs: &str, folder: &Folder, run: &str) -> u64 {
        let mut train = program();
        train.args(["train", "--limit", "100", "--layers", "64,3,10", "--device", device, "--epochs", epochs, "-q"]);
        train.args(["--validation", "0.2", "--keep", "best", "--checkpoint", "0.1", "--run", &folder.text(run)]);
        let (status, stderr, most) = measured(train, &folder.path("stderr"));
        assert!(status.success(), "{stderr}");
        most
    }

    #[test]
    fn two_thousand_epochs_take_the_memory_of_two_hundred() {
        let folder = Folder::new();
        let skip = std::env::var_os("GPU_BACKPROP_SKIP_GPU_TESTS").is_some();
        for device in ["cpu", "gpu"].into_iter().take(if skip { 1 } else { 2 }) {
            let few = most(device, "200", &folder, &format!("{device} few"));
            let many = most(device, "2000", &folder, &format!("{device} many"));
            println!("{device}: {few} kB after 200 epochs, {many} kB after 2,000");
            assert!(many <= few + ALLOWED, "{device}: {few} kB after 200 epochs, {many} kB after 2,000");
        }
    }
}
