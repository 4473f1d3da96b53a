//! Every shader is held against its row of the kernel table. Needs no GPU.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::networks::{Rung, with_rows};

use gpu_backprop::backprop::training_plan;
use gpu_backprop::kernel::product::{Precision, VARIANTS, Variant};
use gpu_backprop::kernel::{Field, Grid, Kernel, MiniBatch, Params, Part, Realization, Slot, Snippets, Specification};
use gpu_backprop::kernels::{self, TRAIN_IN_WORKGROUP};
use gpu_backprop::network::{activation, cost, optimizer};
use gpu_backprop::plan::Element;
use gpu_backprop::rewrite::training_loop::TrainingLoop;
use gpu_backprop::rewrite::training_loop::strategy::{IN_STORAGE, STRATEGIES};
use naga::valid::{Capabilities, ModuleInfo};
use naga::{AddressSpace, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner};

/// Every combination of snippets that a kernel can be given.
fn combinations(kernel: &Kernel) -> Vec<Snippets> {
    fn with<T: Copy>(all: &[T], uses: bool) -> Vec<Option<T>> {
        if uses { all.iter().copied().map(Some).collect() } else { vec![None] }
    }
    let uses = |slot| kernel.snippets.contains(&slot);
    let mut combinations = Vec::new();
    for activation in with(&activation::ALL, uses(Slot::Activation)) {
        for cost in with(&cost::ALL, uses(Slot::Cost)) {
            for optimizer in with(&optimizer::ALL, uses(Slot::Optimizer)) {
                combinations.push(Snippets { activation, output: None, cost, optimizer });
            }
        }
    }
    combinations
}

/// The training loop by every strategy with the constants of every network that it may be for, and its parsed shader.
static LOOPS: LazyLock<Vec<(TrainingLoop, Module)>> = LazyLock::new(|| {
    let networks = with_rows(Rung::Cpu).filter(|network| network.m <= 17);
    let loops = networks.flat_map(|network| {
        let plan = training_plan(&network.topology(), &network.examples(20, 30), network.m, network.rule());
        let training = TrainingLoop::of(&plan.expect("the shapes fit")).expect("a training plan");
        let ways = STRATEGIES.into_iter().map(|strategy| (strategy, 4)).chain([(&IN_STORAGE, 1)]);
        ways.filter_map(move |(strategy, part_rows)| {
            let training = TrainingLoop { part_rows, ..training.clone() }.with(strategy, 64);
            let module = || parse_text(TRAIN_IN_WORKGROUP.name, &training.source());
            training.is_possible().then(|| (training.clone(), module()))
        })
    });
    loops.collect()
});

/// Every way to compute a kernel.
fn realizations(kernel: &Kernel) -> Vec<Option<Realization>> {
    match kernel.product {
        None => vec![None],
        Some(_) => VARIANTS
            .into_iter()
            .flat_map(|variant| {
                let ways = [Precision::Full, Precision::Mixed].into_iter().flat_map(|p| [(p, false), (p, true)]);
                ways.map(move |(precision, vec4)| Some(Realization { variant, vec4, precision }))
            })
            .collect(),
    }
}

fn parse_text(name: &str, source: &str) -> Module {
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    validated(name, &module);
    module
}

/// What is known of a module, which must be valid.
pub fn validated(name: &str, module: &Module) -> ModuleInfo {
    let capabilities = [
        Capabilities::SUBGROUP,
        Capabilities::SHADER_FLOAT16,
        Capabilities::SHADER_FLOAT16_IN_FLOAT32,
        Capabilities::COOPERATIVE_MATRIX,
    ]
    .into_iter()
    .collect();
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::BASIC | naga::valid::SubgroupOperationSet::ARITHMETIC)
        .validate(module)
        .unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

/// A kernel, its snippets, a way to compute it, and its parsed shader.
pub type Parsed = (&'static Kernel, Snippets, Option<Realization>, Module);

/// Every kernel, with its first snippets computed in each way, and with the others in one.
pub static MODULES: LazyLock<Vec<Parsed>> = LazyLock::new(|| {
    let each = kernels::PRIMITIVE.into_iter().chain(kernels::FUSED).flat_map(|kernel| {
        combinations(kernel).into_iter().enumerate().flat_map(move |(i, snippets)| {
            let ways = realizations(kernel).into_iter().take(if i == 0 { usize::MAX } else { 1 });
            ways.map(move |realization| {
                let source = kernel.source(snippets, realization);
                (kernel, snippets, realization, parse_text(kernel.name, &source))
            })
        })
    });
    let of_loop =
        |(_, module): &(TrainingLoop, Module)| (&TRAIN_IN_WORKGROUP, Snippets::default(), None, module.clone());
    each.chain(LOOPS.iter().map(of_loop)).collect()
});

/// Bytes of work group memory, where an array may be as long as the work group is wide.
fn shared_memory(module: &Module, width: u32) -> u32 {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).expect("a layout");
    let size = |ty| match module.types[ty].inner {
        TypeInner::Array { stride, size: naga::ArraySize::Pending(_), .. } => stride * width,
        _ => layouter[ty].size,
    };
    let variables = module.global_variables.iter().map(|(_, variable)| variable);
    variables.filter(|variable| variable.space == AddressSpace::WorkGroup).map(|variable| size(variable.ty)).sum()
}

/// The global variable bound at a group and binding: its name, address space and type.
fn bound(module: &Module, group: u32, binding: u32) -> Option<(&str, AddressSpace, &TypeInner)> {
    let (_, variable) = module
        .global_variables
        .iter()
        .find(|(_, variable)| variable.binding.is_some_and(|at| (at.group, at.binding) == (group, binding)))?;
    Some((variable.name.as_deref()?, variable.space, &module.types[variable.ty].inner))
}

fn assert_struct(module: &Module, what: &str, inner: &TypeInner, fields: &[Field]) {
    let TypeInner::Struct { members, .. } = inner else { panic!("{what} is not a struct") };
    let found: Vec<Field> = members
        .iter()
        .map(|member| Field {
            name: Box::leak(member.name.clone().expect("members have names").into_boxed_str()),
            wgsl: scalar(&module.types[member.ty].inner),
            offset: member.offset as usize,
        })
        .collect();
    assert_eq!(found, fields, "{what}: shader on the left, row on the right");
}

fn scalar(inner: &TypeInner) -> &'static str {
    match inner {
        TypeInner::Scalar(scalar) if scalar.width == 4 => match scalar.kind {
            ScalarKind::Uint => "u32",
            ScalarKind::Float => "f32",
            other => panic!("{other:?} is not shared with shaders"),
        },
        TypeInner::Vector { size: naga::VectorSize::Quad, .. } => "vec4<f32>",
        other => panic!("{other:?} is not a 32-bit scalar"),
    }
}

/// The names of the shaders in a folder.
fn files(folder: &str) -> BTreeSet<String> {
    std::fs::read_dir(format!("{SHADERS}/{folder}"))
        .expect("a folder of shaders")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wgsl"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect()
}

const SHADERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");

/// Kernels that have the shader of another, and differ in what is joined to it.
const WITH_THE_SHADER_OF: [(&str, &str); 1] = [("outer_product_decayed_update", "outer_product_update")];

fn shader_of(name: &'static str) -> &'static str {
    WITH_THE_SHADER_OF.into_iter().find(|(with, _)| *with == name).map_or(name, |(_, of)| of)
}

fn every_shader_has_one_row_and_every_row_one_shader() {
    let own = |rows: &[&Kernel]| rows.iter().map(|kernel| shader_of(kernel.name).to_string()).collect::<BTreeSet<_>>();
    assert_eq!(files(""), own(&kernels::PRIMITIVE));
    assert_eq!(files("fused"), own(&kernels::FUSED));
    let inputs = ["input_16_bytes", "input_4_bytes", "input_4_floats", "input_bytes", "input_floats"];
    let others = ["desired_classes", "desired_numbers", "weight_1", "weight_of_example"];
    let places = [
        "first_weights_own",
        "first_weights_shared",
        "parameters_in_storage",
        "parameters_in_workgroup",
        "activations_in_storage",
        "activations_in_workgroup",
    ];
    let parts = inputs.into_iter().chain(others).chain(places).map(ToString::to_string);
    assert_eq!(files("loop"), own(&[&TRAIN_IN_WORKGROUP]).into_iter().chain(parts).collect());
    let names: BTreeSet<_> = kernels::all().map(|kernel| kernel.name).collect();
    assert_eq!(names.len(), kernels::all().count(), "names are unique");
    let read = |folder: &str, name: &str| {
        std::fs::read_to_string(format!("{SHADERS}/{folder}/{name}.wgsl")).expect("the shader")
    };
    let mut unused = files("shared");
    // Joined to every kernel that reads it.
    assert!(unused.remove("mini_batch"));
    let mut joined = BTreeSet::new();
    for (folder, rows) in
        [("", &kernels::PRIMITIVE[..]), ("fused", &kernels::FUSED[..]), ("loop", &[&TRAIN_IN_WORKGROUP])]
    {
        for kernel in rows {
            let file = read(folder, shader_of(kernel.name));
            let shared = kernel.shader.strip_prefix(&file);
            let shared = shared.unwrap_or_else(|| panic!("{} has the text of another shader", kernel.name));
            let name = files("shared").into_iter().find(|name| read("shared", name) == shared);
            assert!(shared.is_empty() || name.is_some(), "{}: {shared} is in no file", kernel.name);
            assert!(joined.insert((file.clone(), name.clone())), "{} is the same as another", kernel.name);
            name.map(|name| unused.remove(&name));
            assert!(file.starts_with("// "), "{}: the first line says what it computes", kernel.name);
        }
    }
    assert!(unused.is_empty(), "{unused:?} are joined to no kernel");
}

fn every_variant_has_the_shader_of_its_name() {
    let shared = ["blocks", "full", "mixed", "nn", "nn_vec4", "nt", "nt_vec4", "store", "tn", "tn_vec4"];
    // Cooperative matrices of every size have one shader.
    let named = |variant: &Variant| if variant.cooperative.is_some() { "cooperative" } else { variant.name };
    let variants = VARIANTS.map(named);
    assert_eq!(files("product"), variants.into_iter().chain(shared).map(ToString::to_string).collect());
    for variant in VARIANTS {
        let file = std::fs::read_to_string(format!("{SHADERS}/product/{}.wgsl", named(variant))).expect("the shader");
        assert_eq!(variant.shader, file, "{} has the text of another shader", variant.name);
    }
}

fn fused_kernels_replace_primitives() {
    for kernel in kernels::FUSED {
        let Specification::Pattern(parts) = kernel.specification else { panic!("{} has no pattern", kernel.name) };
        assert!(parts.len() > 1 && parts.iter().all(|part| kernels::PRIMITIVE.iter().any(|row| row.is(part.kernel))));
        for part in parts {
            assert_eq!(part.operands.len(), part.kernel.bindings.len(), "{}: {}", kernel.name, part.kernel.name);
        }
        for binding in kernel.bindings {
            let named = |part: &&Part| part.operands.contains(&binding.name);
            assert!(parts.iter().any(|part| named(&part)), "{}: no part has {}", kernel.name, binding.name);
        }
    }
    assert!(matches!(TRAIN_IN_WORKGROUP.specification, Specification::TrainingPlan));
}

fn the_entry_point_has_the_name_of_the_row() {
    for (kernel, _, _, module) in &*MODULES {
        let entry_points: Vec<_> = module.entry_points.iter().map(|entry| (entry.name.as_str(), entry.stage)).collect();
        assert_eq!(entry_points, [(kernel.entry_point(), ShaderStage::Compute)]);
    }
}

fn shared_memory_is_what_the_variant_says() {
    for (kernel, _, realization, module) in &*MODULES {
        let Some(Realization { variant, precision, .. }) = *realization else { continue };
        let bytes = shared_memory(module, variant.grid.size()[0]);
        match precision {
            Precision::Full => assert_eq!(bytes, variant.shared_memory, "{} by {}", kernel.name, variant.name),
            Precision::Mixed => assert!(bytes <= variant.shared_memory, "{} by {}", kernel.name, variant.name),
        }
        assert!(bytes <= 16_384, "{}: more than every GPU has", variant.name);
    }
}

fn shared_memory_is_what_the_loop_says() {
    for (training, module) in &*LOOPS {
        let bytes = shared_memory(module, TRAIN_IN_WORKGROUP.grid.size()[0]);
        assert_eq!(bytes as usize, training.shared_memory());
    }
}

fn bindings_are_those_of_the_row() {
    for (kernel, snippets, _, module) in &*MODULES {
        let bindings = kernel.all_bindings(*snippets);
        for (number, binding) in (1..).zip(&bindings) {
            let what = format!("{}: binding {number}", kernel.name);
            let (name, space, inner) = bound(module, 0, number).unwrap_or_else(|| panic!("{what} is missing"));
            assert_eq!(name, binding.name, "{what}");
            let store = if binding.access.writes() { StorageAccess::STORE } else { StorageAccess::empty() };
            let access = StorageAccess::LOAD | store;
            assert_eq!(space, AddressSpace::Storage { access }, "{what}");
            let TypeInner::Array { base, .. } = inner else { panic!("{what} is not an array") };
            let base = match module.types[*base].inner {
                TypeInner::Struct { .. } => {
                    assert_eq!(binding.name, "schedule", "{what}");
                    assert_struct(module, &what, &module.types[*base].inner, MiniBatch::FIELDS);
                    continue;
                }
                TypeInner::Vector { size: naga::VectorSize::Quad, scalar } => TypeInner::Scalar(scalar),
                ref inner => inner.clone(),
            };
            let element = match binding.element {
                Element::F32 => "f32",
                Element::U32 | Element::Byte => "u32",
            };
            assert_eq!(scalar(&base), element, "{what}");
        }
        let written: Vec<bool> = bindings.iter().map(|binding| binding.access.writes()).collect();
        assert!(written.is_sorted() && written.last() == Some(&true), "{}: outputs come last", kernel.name);
        let bound = module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some()).count();
        let uniforms = 1 + usize::from(kernel.reads_mini_batch);
        assert_eq!(bound, bindings.len() + uniforms, "{}: number of bindings", kernel.name);
        assert!(bindings.len() <= 8, "{}: more storage buffers than every GPU has", kernel.name);
    }
}

fn params_have_the_same_members_on_both_sides() {
    for (kernel, _, _, module) in &*MODULES {
        let (name, space, inner) = bound(module, 0, 0).unwrap_or_else(|| panic!("{} has no params", kernel.name));
        assert_eq!((name, space), ("params", AddressSpace::Uniform), "{}", kernel.name);
        assert_struct(module, &format!("the params of {}", kernel.name), inner, kernel.params);
        match bound(module, 1, 0) {
            Some((name, space, inner)) => {
                assert!(kernel.reads_mini_batch, "{} reads the mini-batch, its row denies it", kernel.name);
                assert_eq!((name, space), ("mini_batch", AddressSpace::Uniform), "{}", kernel.name);
                assert_struct(module, &format!("the mini-batch of {}", kernel.name), inner, MiniBatch::FIELDS);
            }
            None => assert!(!kernel.reads_mini_batch, "{} has no mini-batch, its row claims one", kernel.name),
        }
    }
}

fn work_group_sizes_come_from_the_row() {
    for (kernel, _, realization, module) in &*MODULES {
        let grid = kernel.grid(*realization);
        let names: BTreeSet<&str> =
            module.overrides.iter().map(|(_, constant)| constant.name.as_deref().expect("a name")).collect();
        let constants = grid.constants();
        assert_eq!(names, constants.iter().map(|(name, _)| *name).collect(), "{}", kernel.name);
        let sizes = module.entry_points[0].workgroup_size_overrides;
        let sizes = sizes.unwrap_or_else(|| panic!("{}: a work group size that is not an override", kernel.name));
        let used: Vec<&str> = sizes
            .into_iter()
            .flatten()
            .map(|size| match module.global_expressions[size] {
                naga::Expression::Override(constant) => module.overrides[constant].name.as_deref().expect("a name"),
                ref other => panic!("{}: {other:?} in the work group size", kernel.name),
            })
            .collect();
        let expected = match grid {
            Grid::PerEntry { .. } | Grid::PerRow { .. } | Grid::OneWorkGroup { .. } => vec!["WORKGROUP_SIZE"],
            Grid::PerRowAndColumn { .. } | Grid::PerTile { .. } => vec!["WORKGROUP_COLS", "WORKGROUP_ROWS"],
        };
        assert_eq!(used, expected, "{}", kernel.name);
        if let Grid::OneWorkGroup { size } = grid {
            assert!(size.is_power_of_two(), "{}: its reduction halves {size} lanes again and again", kernel.name);
        }
    }
}

fn snippets_are_used_where_the_row_says_so() {
    for (kernel, _, _, module) in &*MODULES {
        let functions: BTreeSet<&str> =
            module.functions.iter().map(|(_, function)| function.name.as_deref().expect("a name")).collect();
        let calls = |name: &str| kernel.shader.contains(&format!("{name}("));
        let slots: [(Slot, &[&str]); 4] = [
            (Slot::Activation, &[" sigma", " sigma_prime"]),
            (Slot::Output, &[" output_sigma", " output_sigma_prime"]),
            (Slot::Cost, &[" cost", " error_of_output"]),
            (Slot::Optimizer, &[" step_entry"]),
        ];
        for (slot, aliases) in slots {
            let uses = kernel.snippets.contains(&slot);
            // Of a vec4 or as an argument, too.
            let called =
                |alias: &&str| calls(alias) || calls(&alias.replace(' ', "(")) || calls(&alias.replace(' ', "- "));
            assert_eq!(aliases.iter().any(called), uses, "{}: {slot:?} is called", kernel.name);
            let defined = aliases.iter().all(|alias| functions.contains(alias.trim_start()));
            assert_eq!(defined, uses, "{}: {slot:?} is joined", kernel.name);
        }
    }
}

trials! {
    once:
        every_shader_has_one_row_and_every_row_one_shader,
        every_variant_has_the_shader_of_its_name,
        fused_kernels_replace_primitives,
        the_entry_point_has_the_name_of_the_row,
        shared_memory_is_what_the_variant_says,
        shared_memory_is_what_the_loop_says,
        bindings_are_those_of_the_row,
        params_have_the_same_members_on_both_sides,
        work_group_sizes_come_from_the_row,
        snippets_are_used_where_the_row_says_so;
}
