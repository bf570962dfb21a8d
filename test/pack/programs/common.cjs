const { RubricateError, Tape, Tensor, ops } = require("rubricate");

const tape = new Tape();
const x = Tensor.from([1, -2, 3], [3], "float32", { requiresGrad: true });
tape.backward(ops.sum(tape, ops.multiply(tape, x, x)));
const gradient = [...x.grad().data()].join();
let code;
try {
  x.dispose();
  x.data();
} catch (error) {
  code = error instanceof RubricateError && error.code;
}
// One copy of every class, whether the package was imported or required.
import("rubricate").then((module) => {
  const same = module.Tensor === Tensor && module.RubricateError === RubricateError;
  const works = gradient === "2,-4,6" && code === "ERR_DISPOSED" && same;
  console.log(works ? "works" : `broken: ${gradient}, ${code}, ${same}`);
});
