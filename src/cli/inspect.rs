//! `gpu-backprop inspect`

mod image;
mod page;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::data_arguments::TableArguments;
use super::{print, print_json};
use crate::commands::inspect::{self, Options, Worked};
use crate::data::table::TableOptions;
use crate::data::{ExampleFile, npy};
use crate::system::error::{WrongUsage, ensure_usage};
use crate::system::output_file::create_folder;
use page::Parts;

/// The flags of `inspect`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Network: a model, a network saved by the book's network2.py (JSON), or an example typed as text (lines
    /// `sizes 2 2 2`, `w2 ...`, `b2 ...`, ..., `x ...`, `y ...`).
    #[arg(required_unless_present = "from")]
    network: Option<PathBuf>,
    /// Data of a model, with labels or targets, as for `evaluate` [default: digits].
    data: Option<PathBuf>,
    /// Network, as an alternative to the first argument.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["network", "data"])]
    from: Option<PathBuf>,
    /// Number of the example in the data, counted from 1 [default: 1].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    example: Option<usize>,
    /// Labels of an array: IDX, NPY or NPZ.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    table: TableArguments,
    /// Leave out rows of a table whose target is missing, instead of stopping with an error.
    #[arg(long)]
    drop_missing_target: bool,
    /// Inputs: the activations of layer 1, after the preprocessing of a model. Raw values belong in DATA.
    #[arg(long, value_name = "X,X,...", value_delimiter = ',', allow_hyphen_values = true)]
    x: Option<Vec<f64>>,
    /// Desired outputs, scaled as those of the network.
    #[arg(long, value_name = "Y,Y,...", value_delimiter = ',', allow_hyphen_values = true)]
    y: Option<Vec<f64>>,
    /// Learning rate η of the step [default: that of the file, or 1].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    eta: Option<f64>,
    /// Show this layer only, in full.
    #[arg(long, value_name = "L", allow_negative_numbers = true)]
    layer: Option<usize>,
    /// Show this neuron only: neuron J of layer L, counted from 1.
    #[arg(long, value_name = "L.J", conflicts_with = "layer")]
    neuron: Option<String>,
    /// Show this weight only: from neuron K of layer L-1 to neuron J of layer L, counted from 1.
    #[arg(long, value_name = "L.J.K", conflicts_with_all = ["layer", "neuron"])]
    weight: Option<String>,
    /// Write all matrices as NPY files to this folder: z2.npy, a2.npy, delta2.npy, nabla_w2.npy, ...
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments {
        network,
        data,
        from,
        example,
        labels,
        table,
        drop_missing_target,
        x,
        y,
        eta,
        layer,
        neuron,
        weight,
        dump,
        json,
    } = arguments;
    let network = network.or(from).context("clap has checked it")?;
    if let Some(eta) = eta {
        ensure_usage!(eta.is_finite() && eta >= 0.0, "--eta {eta}: expected a finite number, 0 or greater");
    }
    let finite = |flag: &str, values: &Option<Vec<f64>>| {
        ensure_usage!(values.iter().flatten().all(|x| x.is_finite()), "--{flag}: expected finite numbers");
        Ok(())
    };
    finite("x", &x)?;
    finite("y", &y)?;
    let table = TableOptions { drop_missing_target, ..table.options() };
    let data = data.map(|path| ExampleFile { path, labels, table });
    let subject = inspect::subject(&Options { network, data, example, x, y, eta })?;
    let worked = inspect::worked(&subject);
    let parts = parts(&worked, layer, neuron.as_deref(), weight.as_deref())?;
    if let Some(folder) = dump {
        write(&folder, &worked)?;
    }
    if json {
        return print_json(&worked);
    }
    let image = subject.is_image.then(|| image::drawn(&worked.x)).flatten();
    print(&page::text(&subject, &worked, parts, image.as_deref())?)
}

/// The parts to show.
fn parts(worked: &Worked, layer: Option<usize>, neuron: Option<&str>, weight: Option<&str>) -> Result<Parts> {
    let numbers = |flag: &str, text: &str, count: usize| -> Result<Vec<usize>> {
        let numbers = text.split('.').map(str::parse).collect::<Result<Vec<usize>, _>>().ok();
        let numbers = numbers.filter(|numbers| numbers.len() == count);
        let form = if count == 2 { "L.J, such as 3.1" } else { "L.J.K, such as 3.1.2" };
        Ok(numbers.ok_or_else(|| WrongUsage::new(format!("--{flag} {text}: expected {form}")))?)
    };
    let last = worked.layers.len();
    let check = |flag: &str, l: usize, places: &[(usize, usize)]| {
        ensure_usage!((2..=last).contains(&l), "--{flag}: layer {l}; the layers with weights are 2 to {last}");
        for &(number, most) in places {
            ensure_usage!((1..=most).contains(&number), "--{flag}: neuron {number}; there are 1 to {most}");
        }
        Ok(())
    };
    if let Some(l) = layer {
        check("layer", l, &[])?;
        return Ok(Parts::Layer(l));
    }
    if let Some(text) = neuron {
        let at = numbers("neuron", text, 2)?;
        check("neuron", at[0], &[])?;
        check("neuron", at[0], &[(at[1], worked.layers[at[0] - 1])])?;
        return Ok(Parts::Neuron(at[0], at[1]));
    }
    if let Some(text) = weight {
        let at = numbers("weight", text, 3)?;
        check("weight", at[0], &[])?;
        check("weight", at[0], &[(at[1], worked.layers[at[0] - 1]), (at[2], worked.layers[at[0] - 2])])?;
        return Ok(Parts::Weight(at[0], at[1], at[2]));
    }
    Ok(Parts::All)
}

/// Writes every matrix to a file.
fn write(folder: &std::path::Path, worked: &Worked) -> Result<()> {
    let cannot = |path: &std::path::Path| format!("--dump: cannot write {}", path.display());
    create_folder(folder).with_context(|| cannot(folder))?;
    let has = |name: &str| folder.join(name).exists();
    ensure_usage!(
        has("nabla_w2.npy") || !has("w2.npy"),
        "--dump {}: its w2.npy is of no dump, and would be replaced; name another folder",
        folder.display()
    );
    for (name, shape, values) in worked.matrices() {
        let path = folder.join(format!("{name}.npy"));
        std::fs::write(&path, npy::encode(&shape, &values)).with_context(|| cannot(&path))?;
    }
    Ok(())
}
