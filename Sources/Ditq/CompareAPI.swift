// ditq.h, "What quantization cost".

import CDitq
import DitqCore

@c @implementation
public func ditq_compare(
  _ reference: OpaquePointer!, _ model: OpaquePointer!, _ options: UnsafePointer<ditq_compare_options>!,
  _ report: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
    let reference = try object(reference, Model.self, "reference"), model = try object(model, Model.self, "model")
    let report = try required(report, "report")
    let (values, progress) = try compareOptions(options)
    report.pointee = handle(try compare(reference, model, values) { progress.tell($0, $1, $2, $3, $4) })
  }
}

/// A field of 0 is its default.
private func compareOptions(_ pointer: UnsafePointer<ditq_compare_options>?) throws(DitqError) -> (CompareOptions, HostProgress) {
  var result = CompareOptions()
  guard let found = try options(pointer, "options") else { return (result, HostProgress()) }
  try requireUnset(found.reserved, "options")
  if found.steps != 0 { result.steps = Int(found.steps) }
  if found.samples != 0 { result.samples = Int(found.samples) }
  result.threads = Int(found.threads)
  result.seed = found.seed
  guard found.free_running == 0 || found.free_running == 1 else {
    throw DitqError(.invalidArgument, "free_running: 0 or 1 expected, \(found.free_running) found")
  }
  result.isFreeRunning = found.free_running == 1
  return (result, HostProgress(callback: found.progress, context: found.progress_context))
}

@c @implementation
public func ditq_report_json(_ report: OpaquePointer!) -> UnsafePointer<CChar>! {
  guard let report = try? object(report, Report.self, "report") else { return cString("{}") }
  return report.json
}

@c @implementation
public func ditq_report_csv(_ report: OpaquePointer!) -> UnsafePointer<CChar>! {
  guard let report = try? object(report, Report.self, "report") else { return cString("") }
  return report.csv
}

@c @implementation
public func ditq_report_sqnr_db(_ report: OpaquePointer!, _ step: Int32) -> Double {
  guard let report = try? object(report, Report.self, "report") else { return .nan }
  return report.sqnr(step: Int(step))
}

@c @implementation
public func ditq_report_destroy(_ report: OpaquePointer!) { release(report, Report.self) }
