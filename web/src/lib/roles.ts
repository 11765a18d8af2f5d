/** What a role may do, as far as a screen needs to know which buttons to offer; the server decides. */
import type { Role } from '@/protocol/types';
import { user } from './auth';

const CLINICAL: readonly Role[] = ['operator', 'specialist', 'reviewer'];
const PERMISSIONS = {
  'room.view': [...CLINICAL, 'trainee', 'qc', 'admin'],
  'room.draw': CLINICAL,
  'room.speak': [...CLINICAL, 'trainee'],
  'room.host': ['operator', 'specialist', 'admin'],
  'room.capture': CLINICAL,
  'study.read': [...CLINICAL, 'referrer', 'qc', 'admin'],
  'patient.read': [...CLINICAL, 'referrer', 'admin'],
  'patient.write': ['operator', 'referrer', 'admin'],
  'consult.read': [...CLINICAL, 'referrer', 'admin'],
  'consult.request': ['operator', 'referrer'],
  'consult.accept': ['specialist', 'reviewer'],
  'report.read': [...CLINICAL, 'referrer', 'qc', 'admin'],
  'report.draft': ['operator', 'specialist'],
  'report.review': ['specialist', 'reviewer'],
  'report.sign': ['reviewer'],
  'quarantine.read': ['operator', 'reviewer', 'qc', 'admin'],
  'quarantine.decide': ['operator', 'qc', 'admin'],
  'site.read': ['operator', 'specialist', 'itsec', 'admin'],
  'site.manage': ['itsec', 'admin'],
  'audit.read': ['itsec', 'admin'],
} as const satisfies Record<string, readonly Role[]>;

export type Permission = keyof typeof PERMISSIONS;

/** Say whether a role holds a permission. */
export function roleMay(role: Role, permission: Permission): boolean {
  return (PERMISSIONS[permission] as readonly Role[]).includes(role);
}

/** Say whether the person signed in holds a permission. */
export function may(permission: Permission): boolean {
  const person = user.value;
  return person !== null && roleMay(person.role, permission);
}
