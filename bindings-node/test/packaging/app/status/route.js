// A route of the Next.js application.
import { scenario } from '../../scenario.mjs'

export const dynamic = 'force-dynamic'

export async function GET() {
  return new Response(await scenario())
}
