{
  # The addon from source with node-gyp, for those without cmake: the same sources and flags as CMakeLists.txt.
  "targets": [
    {
      "target_name": "rubricate",
      "sources": [
        "<!@(node -p \"const s = require('./native/sources.json'); [...s.core, ...s.addon].join(' ')\")"
      ],
      "include_dirs": ["native", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=8",
        "NODE_ADDON_API_CPP_EXCEPTIONS",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "NDEBUG",
        "RUBRICATE_VERSION=\"<!(node -p \"require('./package.json').version\")\""
      ],
      "cflags!": ["-fno-exceptions", "-fno-strict-aliasing"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20", "-fno-strict-aliasing"],
      "cflags_cc": [
        "-std=c++20",
        "-O3",
        "-Wall",
        "-Wextra",
        "-Wno-maybe-uninitialized",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fvisibility=hidden",
        "-fvisibility-inlines-hidden"
      ],
      "conditions": [
        [
          "OS=='linux'",
          {
            "cflags_cc": ["-include", "<(module_root_dir)/native/base/glibc_compat.h"],
            "ldflags": [
              "-Wl,-z,nodelete",
              "-Wl,--version-script=<(module_root_dir)/native/binding/exports.map"
            ]
          }
        ],
        [
          "OS=='mac'",
          {
            "xcode_settings": {
              "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
              "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
              "GCC_ENABLE_CPP_RTTI": "YES",
              "GCC_OPTIMIZATION_LEVEL": "3",
              "OTHER_CPLUSPLUSFLAGS": ["-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]
            }
          }
        ]
      ]
    }
  ]
}
