// ditq.h, "Version" and "Status and errors".

import CDitq
import DitqCore

@c @implementation
public func ditq_abi_version() -> UInt32 { UInt32(DITQ_ABI_VERSION) }

@c @implementation
public func ditq_version() -> UnsafePointer<CChar>! { cString("0.1.0") }

@c @implementation
public func ditq_abi_layout() -> UnsafePointer<CChar>! { cString(abiLayout) }

@c @implementation
public func ditq_status_name(_ status: ditq_status) -> UnsafePointer<CChar>! {
  switch Int(status) {
  case DITQ_OK: cString("DITQ_OK")
  case DITQ_INVALID_ARGUMENT: cString("DITQ_INVALID_ARGUMENT")
  case DITQ_NOT_FOUND: cString("DITQ_NOT_FOUND")
  case DITQ_IO_FAILED: cString("DITQ_IO_FAILED")
  case DITQ_MALFORMED: cString("DITQ_MALFORMED")
  case DITQ_UNSUPPORTED: cString("DITQ_UNSUPPORTED")
  case DITQ_OUT_OF_MEMORY: cString("DITQ_OUT_OF_MEMORY")
  case DITQ_CANCELLED: cString("DITQ_CANCELLED")
  case DITQ_CHECKSUM_MISMATCH: cString("DITQ_CHECKSUM_MISMATCH")
  case DITQ_INTERNAL: cString("DITQ_INTERNAL")
  default: cString("DITQ_UNKNOWN")
  }
}
