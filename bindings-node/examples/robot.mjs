// A robot: it has registration credentials and no wallet. Options come from the environment, for example from
// ROBOT_REGISTRATION_CREDENTIALS_FILE: see the README.
import process from 'node:process'

import { PosemeshNode, authorizedFetch } from 'posemesh-node'

const DDS = process.env.DDS_BASE_URL ?? 'https://dds.auki.network'

const robot = await PosemeshNode.fromEnv({ identity: 'robot', nodeVersion: '1.0.0', logger: console })
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => robot.stop())

try {
  const token = await robot.accessToken()
  console.log(`robot ${robot.status().nodeId} is registered`)

  // The claims are not verified. DDS checks whether the robot may work in the domain.
  const domainId = token.claims?.assigned_domain_id
  if (domainId === undefined) {
    console.log('no domain is assigned to the robot')
  } else {
    const fetch = authorizedFetch(robot) // sends the robot's access token
    const response = await fetch(`${DDS}/internal/v1/auth/robot/domain-token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ domain_id: domainId }),
    })
    if (!response.ok) throw new Error(`no token for domain ${domainId}: ${response.status} ${await response.text()}`)
    const { domain_server_url, access_expires_at } = await response.json()
    console.log(`it has access to domain ${domainId} at ${domain_server_url} until ${access_expires_at}`)
  }
} catch (error) {
  // A signal has stopped the robot before it had a token.
  if (error.code !== 'ERR_STOPPED') throw error
}
