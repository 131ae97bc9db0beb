//! Too little memory, at every allocation.

use fastattention::cooperative::{Division, LayerOrder, Problem};
use fastattention::runtime::Buffer;
use fastattention::{DType, ErrorKind};

use crate::run::{host, host_with, placed, Run};

fn problem(host: u32) -> Problem {
    let division = Division::Layers { order: LayerOrder::HostFirst, host: Some(host) };
    Problem::new(DType::F16, 4, [2, 200, 4, 32], division).with_page_size(16).with_rows(1, 60)
}

/// Memory of the device, or of the host, in steps that are smaller than any allocation of K and V.
#[test]
fn a_store_that_finds_no_room_leaves_none_behind() {
    for is_device in [true, false] {
        let placement = placed(&problem(2));
        let own = if is_device { placement.device_bytes() } else { placement.host_bytes() };
        let step = own.kv / 9;
        let mut failed = 0;
        for memory in (1..).map(|i| i * step) {
            let short = host_with(memory);
            let [device, host] = if is_device { [short.clone(), host()] } else { [host(), short.clone()] };
            match Run::new(&device, &host, &placement) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
                    let info = short.memory_info().unwrap();
                    assert_eq!(info.free_bytes, info.total_bytes, "{memory} bytes: {error}");
                    failed += 1;
                }
                Ok(mut run) => {
                    // What is planned, with the kernels' own.
                    assert!(memory <= own.total() + (4 << 20), "{memory} bytes for {own:?}");
                    // Rows of the test's own are on the device, too.
                    if !is_device {
                        run.run(0, &[(0, 60)], true).unwrap().check(&problem(2));
                    }
                    break;
                }
            }
        }
        assert!(failed > 5, "{failed} failed");
    }
}

#[test]
fn a_change_that_finds_no_room_changes_nothing() {
    let small = placed(&problem(1));
    for (is_device, other) in [(true, placed(&problem(0))), (false, placed(&problem(4)))] {
        let short = host_with(1 << 28);
        let [device, host] = if is_device { [short.clone(), host()] } else { [host(), short.clone()] };
        let mut run = Run::new(&device, &host, &small).unwrap();
        run.run(0, &[(1, 60)], true).unwrap();
        // K of one layer more would find room, V would not.
        let layer = (small.device_bytes().kv / 3) as usize;
        let filler = Buffer::alloc(&short, short.memory_info().unwrap().free_bytes - layer * 3 / 4).unwrap();
        let error = run.store.change(&other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
        assert_eq!(run.store.placement().division(), small.division());
        run.run(0, &[(1, 1)], false).unwrap().check(&problem(1));
        drop(filler);
        run.change(&other).unwrap();
        run.run(0, &[(1, 1)], false).unwrap().check(&problem(1));
    }
}
