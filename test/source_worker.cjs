// A worker thread's file where the package runs from its sources: starts with the module that is its argument.
require("./runtime/typescript.cjs");
require(process.argv[2]);
