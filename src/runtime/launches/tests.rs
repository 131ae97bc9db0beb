use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{span, Event, Metadata, Subscriber};

use crate::attention::{plan, Buffers, FlashAttention, Plan, Problem};
use crate::matmul::{self, Matmul};
use crate::runtime::{Buffer, Device, Stream};
use crate::DType;

/// Keeps what launches tell.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        assert_eq!(field.name(), "launch");
        self.0.lock().expect("nobody panics with it").push(format!("{value:?}"));
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "fastattention::launch"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        unreachable!("launches have no spans")
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_launch_tells_its_plan_and_where_its_operands_lie() {
    let device = Device::open("sim").unwrap();
    let stream = Stream::new(&device).unwrap();
    let operator = FlashAttention::new(&device).unwrap();
    let planned = plan(&Problem::new(DType::F16, [1, 16, 1, 16]).with_lse(), device.soc()).unwrap();
    let zeros: &[u16] = &[0; 256];
    let buffers = Buffers::from_slices(&device, &planned, [zeros; 3]).unwrap();
    let product = Matmul::new(&device).unwrap();
    let of_product = matmul::plan(&matmul::Problem::new(DType::F16, [16, 16, 16]), device.soc()).unwrap();
    let [a, b, c] = [(); 3].map(|()| Buffer::from_slice(&device, zeros).unwrap());
    let heard = Heard::default();
    tracing::subscriber::with_default(heard.clone(), || {
        operator.launch(&stream, &planned, buffers.args()).unwrap();
        // A launch that is refused is none.
        let short = Buffer::alloc(&device, 8).unwrap();
        operator
            .launch(&stream, &planned, crate::attention::Args { q: (&short).into(), ..buffers.args() })
            .unwrap_err();
        product.launch(&stream, &of_product, matmul::Args::new(&a, &b, &c)).unwrap();
    });
    // Nobody listens.
    operator.launch(&stream, &planned, buffers.args()).unwrap();
    stream.synchronize().unwrap();
    let heard: Vec<Value> =
        heard.0.lock().unwrap().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(heard.len(), 2, "{heard:?}");
    let [attention, product] = [&heard[0], &heard[1]];
    assert_eq!(attention["operation"], "attention launch");
    assert_eq!(Plan::from_json(&attention["plan"].to_string(), device.soc()).unwrap(), planned);
    let operand = |launch: &Value, name: &str| {
        let operands = launch["operands"].as_array().unwrap();
        operands.iter().find(|operand| operand["name"] == name).unwrap().clone()
    };
    for (name, buffer, bytes, is_written) in [("k", &buffers.k, 512, false), ("o", &buffers.o, 512, true)] {
        let told = operand(attention, name);
        let address = format!("{:#x}", buffer.device_ptr());
        assert_eq!((&told["address"], &told["bytes"]), (&address.into(), &bytes.into()), "{told}");
        assert_eq!(told["is_written"], is_written, "{told}");
    }
    assert_eq!(operand(attention, "lse")["bytes"], 64);
    assert_eq!(attention["stream"], format!("{:#x}", stream.as_raw().addr()));
    assert_eq!(product["operation"], "matmul launch");
    assert_eq!(product["plan"], of_product.to_string());
}
