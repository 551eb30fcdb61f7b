// The measuring of ditq bench step: opens a model, takes steps by ditq_predict in turn with slices of the peak, and reads what memory the
// process came to. Times by kind are measured after that, because ditq_compare takes more memory. The clock is this file's own.

import CDitq
import CPeak

struct StepMeasurement {
  private static let timestep: Float = 500
  private static let label: Int32 = 207
  /// Enough for a median of nothing but the layers.
  private static let kindSteps: Int32 = 2
  /// ditq_compare takes more images in several batches.
  private static let kindImages = 4

  private let model: Model
  private let batch: Int
  private let steps: Int
  private let session: JSON
  private let peakOfSet: Peak
  private var step = Rates(), peak = Rates()
  private let openSeconds: Double, sessionSeconds: Double, firstStepSeconds: Double
  private let residentBefore: UInt64, residentPeak: UInt64, privateBefore: UInt64, privateAfter: UInt64

  init(path: String, batch: Int, threads: Int32, steps: Int) throws {
    (self.batch, self.steps) = (batch, steps)
    residentBefore = OwnProcess.memory("VmRSS")
    privateBefore = OwnProcess.memory("RssAnon")
    let clock = ContinuousClock()
    var start = clock.now
    /// Since it was asked last.
    func lap() -> Double {
      let end = clock.now
      defer { start = end }
      return (end - start).seconds
    }
    model = try Model(path: path)
    openSeconds = lap()
    // A session of n images takes the 2n halves of guided ones at a time.
    let session = try Session(model, threads: threads, batchLimit: (batch + 1) / 2)
    sessionSeconds = lap()
    var call = try PredictCall(model, batch: batch, timestep: StepMeasurement.timestep, label: StepMeasurement.label)
    _ = lap()
    try session.predict(&call)
    firstStepSeconds = lap()
    guard call.output.allSatisfy(\.isFinite) else {
      throw LibraryError(status: ditq_status(DITQ_UNSUPPORTED), message: "\(path): a prediction of finite numbers expected, others found")
    }

    self.session = try JSON(reading: try session.json())
    let isFloat = Int(model.info.activation_bits) != 8
    let integers = model.info.weight_bits == 4 ? PEAK_SMALL_INTEGER : PEAK_INTEGER
    peakOfSet = Peak(
      instructionSet: self.session["isa"]?.whole() ?? 0, kind: Int32(isFloat ? PEAK_FLOAT : integers),
      threads: self.session["threads"]?.whole() ?? 1)
    try session.predict(&call)
    _ = try peakOfSet.rate()
    for _ in 0..<steps {
      peak.add(try peakOfSet.rate())
      _ = lap()
      try session.predict(&call)
      step.add(1 / max(lap(), 1e-9))
    }
    residentPeak = OwnProcess.memory("VmHWM")
    privateAfter = OwnProcess.memory("RssAnon")
  }

  private var macs: Double { Double(model.info.macs_per_forward) * Double(batch) }

  /// For --json. Rates are in GMAC/s, memory in bytes.
  func members(withKinds: Bool) throws -> [(name: String, value: JSON)] {
    let info = model.info
    let tokens = (info.latent_height / info.patch_size) * (info.latent_width / info.patch_size)
    func gmacs(_ rate: Double) -> JSON { JSON(rate * 1e-9, digits: 3) }
    func seconds(_ value: Double) -> JSON { JSON(value, digits: 6) }
    return [
      ("depth", JSON(info.depth)), ("hidden_size", JSON(info.hidden_size)), ("head_count", JSON(info.head_count)),
      ("patch_size", JSON(info.patch_size)), ("tokens", JSON(tokens)), ("batch", JSON(batch)), ("weight_bits", JSON(info.weight_bits)),
      ("weight_group", JSON(info.weight_group)), ("activation_bits", JSON(info.activation_bits)), ("weights_size", JSON(info.weights_size)),
      ("threads", JSON(peakOfSet.threads)), ("instruction_set", .text(peakOfSet.setName)), ("steps", JSON(steps)),
      ("step_seconds", seconds(1 / step.median)), ("step_seconds_best", seconds(1 / step.best)), ("gmac_per_step", gmacs(macs)),
      ("gmacs", gmacs(macs * step.median)), ("gmacs_best", gmacs(macs * step.best)), ("peak_gmacs", gmacs(peak.median)),
      ("peak_gmacs_best", gmacs(peak.best)), ("ratio", JSON(macs * step.median / peak.median, digits: 4)),
      ("instruction", .text(peakOfSet.instructionName)), ("open_seconds", seconds(openSeconds)),
      ("session_seconds", seconds(sessionSeconds)), ("first_step_seconds", seconds(firstStepSeconds)),
      ("open_to_first_step_seconds", seconds(openSeconds + sessionSeconds + firstStepSeconds)),
      ("resident_before_open", JSON(residentBefore)), ("peak_resident", JSON(residentPeak)),
      ("private_added", JSON(privateAfter - min(privateBefore, privateAfter))),
      ("session_memory", session["memory"] ?? .null), ("kinds", withKinds ? try kinds() : .null),
      ("version", .text(String(cString: ditq_version()))),
    ]
  }

  /// Of a step, all layers of a kind together: "attn.qkv"; what no layer tells is "other". Nothing for a model without quantized layers,
  /// of which ditq_compare does not tell.
  private func kinds() throws -> JSON {
    let samples = min(StepMeasurement.kindImages, (batch + 1) / 2)
    var options = ditq_compare_options()
    options.struct_size = UInt32(MemoryLayout<ditq_compare_options>.size)
    (options.steps, options.samples, options.threads) = (StepMeasurement.kindSteps, Int32(samples), peakOfSet.threads)
    let report = try JSON(reading: try Report(model, model, options).json)
    let whole = report["model"]?["seconds_per_step"]?.double ?? 0
    let kinds = OperationKinds(report["layers"]?.elements ?? [], images: 2 * samples)
    return kinds.isEmpty ? .null : kinds.json(ofStep: whole)
  }
}

/// What the layers of a report come to, by kind.
private struct OperationKinds {
  private var kinds: [(name: String, seconds: Double, macs: Double)] = []

  /// A layer's multiply-accumulates are those of an image, its seconds those of all.
  init(_ layers: [JSON], images: Int) {
    for layer in layers {
      // blocks.3.attn.qkv
      let name = (layer["name"]?.string ?? "").split(separator: ".").dropFirst(2).joined(separator: ".")
      let index = kinds.firstIndex { $0.name == name } ?? kinds.endIndex
      if index == kinds.endIndex { kinds.append((name, 0, 0)) }
      kinds[index].seconds += layer["seconds_per_step"]?.double ?? 0
      kinds[index].macs += (layer["macs"]?.double ?? 0) * Double(images)
    }
  }

  var isEmpty: Bool { kinds.isEmpty }

  func json(ofStep whole: Double) -> JSON {
    func members(_ seconds: Double) -> [(name: String, value: JSON)] {
      [("seconds", JSON(seconds, digits: 6)), ("share", JSON(whole > 0 ? seconds / whole : 0, digits: 4))]
    }
    let others = max(0, whole - kinds.reduce(0) { $0 + $1.seconds })
    return .object(
      kinds.map { kind in
        (kind.name, .object(members(kind.seconds) + [("gmacs", JSON(kind.macs / max(kind.seconds, 1e-9) * 1e-9, digits: 3))]))
      } + [("other", .object(members(others)))])
  }
}
