/** @type {import("jest").Config} */
module.exports = {
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  transform: { "^.+\\.ts$": ["@swc/jest", { jsc: { target: "es2022", parser: { syntax: "typescript" } } }] },
  setupFiles: ["<rootDir>/test/worker_entry.ts"],
  testEnvironment: "node",
  testTimeout: 60000,
  maxWorkers: "100%", // Jest's own choice leaves one processor unused: on two that is half
};
