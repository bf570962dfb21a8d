// Calls every getter and method of every native class with every kind of wrong `this`, in its own process: a
// missing check reads foreign memory, which may end the process. Prints the number of calls and, as JSON, those with
// a wrong result.
const { native, load, architecture, plan } = require("./native_support.cjs");
const { engineOptions } = require("./engine_defaults.cjs");

const newAdapter = (Class = native.Adapter) => new Class(architecture, plan);

/** A handle of each class. */
async function makeHandles() {
  const model = await load();
  const trained = await load();
  const adapter = newAdapter();
  return {
    model,
    engine: model.createEngine(engineOptions, () => {}),
    version: await model.publish(adapter).promise,
    parameters: await trained.makeTrainable().promise,
    adapter,
    optimizer: new native.Optimizer(adapter),
    tensor: native.Tensor.from(Float32Array.of(1, 2), [2], "float32", false),
    tape: new native.Tape(),
  };
}

/** [class, member, function, whether it is a getter] of all members of the classes. */
function membersOf(handles) {
  return Object.entries(handles).flatMap(([name, handle]) => {
    const members = Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(handle)));
    return members
      .filter(([key]) => key !== "constructor")
      .map(([key, { get, value }]) => [name, key, get ?? value, get !== undefined]);
  });
}

/** The result of a call: an error's code or name, or "answered". */
async function outcome(member, receiver) {
  try {
    const answer = member.call(receiver);
    if (answer?.promise) await answer.promise;
    return "answered";
  } catch (error) {
    return error.code ?? `${error.name}: ${error.message}`;
  }
}

async function main() {
  const handles = await makeHandles();
  const wrong = [];
  let calls = 0;
  const check = async (name, key, label, member, receiver, expected) => {
    calls++;
    const found = await outcome(member, receiver);
    if (found !== expected) wrong.push(`${name}.${key} on ${label}: ${found}`);
  };
  for (const [name, key, member, isGetter] of membersOf(handles)) {
    const handle = handles[name];
    const others = Object.entries(handles).filter(([other]) => other !== name);
    const throwing = new Proxy(handle, {
      get() {
        throw new TypeError("a trap");
      },
    });
    const receivers = [
      ...others.map(([other, value]) => [`a handle of ${other}`, value]),
      ["its prototype", Object.getPrototypeOf(handle)],
      ["an object that inherits from a handle", Object.create(handle)],
      ["a proxy of a handle", new Proxy(handle, {})],
      ["a proxy that throws", throwing],
      ["a plain object", {}],
      ["a function", () => {}],
      ["a number", 1],
      ["null", null],
      ["undefined", undefined],
    ];
    const expected = isGetter ? "ERR_ARGUMENT" : "TypeError: Illegal invocation";
    for (const [label, receiver] of receivers) await check(name, key, label, member, receiver, expected);
  }

  // Instances of subclasses are handles of the class, and a handle keeps its class even with another prototype.
  class OwnTape extends native.Tape {}
  class OwnAdapter extends native.Adapter {}
  const recorded = Object.getOwnPropertyDescriptor(native.Tape.prototype, "recorded").get;
  const names = Object.getOwnPropertyDescriptor(native.Adapter.prototype, "names").get;
  const disguised = Object.setPrototypeOf(new native.Tape(), native.Adapter.prototype);
  await check("tape", "recorded", "a subclass", recorded, new OwnTape(), "answered");
  await check("adapter", "names", "a subclass", names, newAdapter(OwnAdapter), "answered");
  await check("adapter", "names", "a tape with its prototype", names, disguised, "ERR_ARGUMENT");
  await check("tape", "recorded", "a tape with an adapter's prototype", recorded, disguised, "answered");

  const members = membersOf(handles);
  for (const handle of Object.values(handles)) handle.dispose?.();
  for (const [name, key, member] of members) {
    if (key === "dispose" || name === "parameters") continue; // harmless twice; lives as long as its model
    await check(name, key, "a disposed handle", member, handles[name], "ERR_DISPOSED");
  }
  console.log(JSON.stringify({ calls, wrong }));
}

main();
