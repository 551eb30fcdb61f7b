// swift-tools-version: 6.2
// Two builds come from this manifest: the regular one, for development and unit tests, and with DITQ_EMBEDDED=1 the one that ships,
// which needs no Swift runtime. Both compile the same sources.
import PackageDescription

let embedded = Context.environment["DITQ_EMBEDDED"] == "1"

/// For profilers: leaves names in the shipped library.
let keepsSymbols = Context.environment["DITQ_SYMBOLS"] == "1"

/// `make tool`: the command uses the library that ships, built before, so that what it measures is what hosts get.
let usesShippedLibrary = Context.environment["DITQ_SHIPPED"] == "1"
let shippedLibrary = "\(Context.packageDirectory)/.build-embedded/lib"

// MARK: - Settings

/// Sections a function, so that the linker can drop what nothing reaches.
let swift: [SwiftSetting] =
  embedded ? [.enableExperimentalFeature("Embedded"), .unsafeFlags(["-wmo", "-Xcc", "-fPIC", "-Xfrontend", "-function-sections"])] : []

/// What runs once a request is compiled for size, where it ships; what runs once an element is in the kernels. Whether two accesses to a variable
/// overlap is checked by regular builds when they run; in Embedded Swift the calls for that do nothing, and are left out.
let cold: [SwiftSetting] =
  swift + (embedded ? [.unsafeFlags(["-Osize", "-enforce-exclusivity=unchecked"], .when(configuration: .release))] : [])

/// Kernels are compiled without overflow and bounds checks: whoever calls them has checked the shapes. A kernel module is reached through
/// the C symbols of CKernels alone and never imported, because importing would re-emit its code where the CPU features are missing.
/// `mode` is how a release is optimized. A module's two files are compiled as one: what one of them calls in the other would else be a call.
func kernels(_ name: String, features: [String], mode: String = "-Ounchecked", path: String? = nil) -> Target {
  .target(
    name: name, dependencies: ["CKernels", "KernelMath"], path: path,
    swiftSettings: swift + [
      .unsafeFlags(
        [mode, "-Xfrontend", "-enable-single-module-llvm-emission"] + features.flatMap { ["-Xcc", "-m" + $0] },
        .when(configuration: .release))
    ]
      + [.unsafeFlags(features.flatMap { ["-Xcc", "-m" + $0] }, .when(configuration: .debug))])
}

#if arch(arm64)
  let kernelTargets = [
    kernels("KernelsGeneric", features: []),
    kernels("KernelsNEON", features: ["arch=armv8.2-a+dotprod"]),
    kernels("KernelsI8MM", features: ["arch=armv8.2-a+dotprod+i8mm"]),
  ]
#else
  let kernelTargets = [
    kernels("KernelsGeneric", features: [], mode: "-Osize"),  // for a CPU older than 2013: right, and small
    kernels("KernelsAVX2", features: ["avx2", "fma"]),
    kernels("KernelsAVX512", features: ["avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"]),
  ]
#endif

/// Dependencies of what is linked, not of what calls kernels: so they compile beside DitqCore.
let linkedKernels: [Target.Dependency] = kernelTargets.map { .byName(name: $0.name) }

let libraryLinking: [LinkerSetting] = [
  .unsafeFlags(
    [
      "-use-ld=lld", "-Xlinker", "-soname", "-Xlinker", "libditq.so.1", "-Xlinker",
      "--version-script=\(Context.packageDirectory)/Sources/Ditq/exports.map",
      "-Xlinker", "--gc-sections", "-Xlinker", "-z", "-Xlinker", "defs",
      // Addresses of functions are bound when the library is loaded, and cannot be written to from then on.
      "-Xlinker", "-z", "-Xlinker", "relro", "-Xlinker", "-z", "-Xlinker", "now", "-Xlinker", "-z", "-Xlinker", "noexecstack",
    ]
      + (embedded
        // Functions with the same code become one: nothing compares their addresses.
        ? [
          "-Xlinker", "--icf=all", "-Xlinker", "--as-needed", "-Xlinker", "-T", "-Xlinker",
          "\(Context.packageDirectory)/Sources/Ditq/discarded.ld",
        ]
          + (keepsSymbols ? [] : ["-Xlinker", "-s"]) : []))
]

// MARK: - What ships

var targets: [Target] = [
  .systemLibrary(name: "CDitq", path: "include"),
  .target(name: "CPlatform"),
  .target(name: "CPNG", linkerSettings: [.linkedLibrary("png")]),
  .target(name: "CKernels"),
  .target(name: "KernelMath", dependencies: ["CKernels"], swiftSettings: swift),
  .target(
    name: "DitqCore", dependencies: ["CPlatform", "CPNG", "CKernels"], swiftSettings: cold, linkerSettings: [.linkedLibrary("m")]),
  .target(
    name: "Ditq", dependencies: ["CDitq", "DitqCore"] + linkedKernels, exclude: ["exports.map", "discarded.ld"],
    swiftSettings: cold + [.unsafeFlags(["-Xcc", "-DDITQ_IMPLEMENTATION"])], linkerSettings: libraryLinking),
]
targets += kernelTargets
var products: [Product] = [.library(name: "ditq", type: .dynamic, targets: ["Ditq"])]
var dependencies: [Package.Dependency] = []

// MARK: - What is built with regular Swift only: the command and the tests

if !embedded {
  dependencies = [.package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")]
  products.append(.executable(name: "ditq-tool", targets: ["ditq-tool"]))
  targets += [
    .target(name: "CPeak"),
    // Sets that no CPU has, with tiles of other shapes, for the tests.
    kernels("Kernels5x16", features: [], mode: "-Osize", path: "Tests/Kernels5x16"),
    kernels("Kernels16x64", features: [], mode: "-Osize", path: "Tests/Kernels16x64"),
    .executableTarget(
      name: "ditq-tool",
      dependencies: ["CDitq", "CPeak", .product(name: "ArgumentParser", package: "swift-argument-parser")]
        + (usesShippedLibrary ? [] : ["Ditq"]),
      linkerSettings: usesShippedLibrary
        ? [.unsafeFlags(["-L", shippedLibrary, "-lditq", "-Xlinker", "-rpath", "-Xlinker", shippedLibrary])] : []),
    .testTarget(name: "DitqCoreTests", dependencies: ["DitqCore", "Kernels5x16", "Kernels16x64"] + linkedKernels),
    .testTarget(name: "DitqABITests", dependencies: ["CDitq", "Ditq"]),
  ]
}

let package = Package(name: "libditq", products: products, dependencies: dependencies, targets: targets)
